// RUN: not plena-opt %s -t plena-asm 2>&1 | filecheck %s --check-prefix UNALLOCATED
// RUN: not plena-opt %s -p no-such-pass 2>&1 | filecheck %s --check-prefix PASS
// RUN: not plena-opt %s --target 8x3x8 2>&1 | filecheck %s --check-prefix TARGET
// RUN: not plena-opt %s --target 8x4x8 -p convert-tensor-to-tile 2>&1 | filecheck %s --check-prefix MAIN
// RUN: not plena-opt %s --target 8x4x8 -p convert-tile-to-isa 2>&1 | filecheck %s --check-prefix MAIN

// UNALLOCATED: plena-opt: error: plena-asm: `plena_isa.s_lui_int` uses a value of type !plena_isa.gp, which is no physical register (run allocate-registers first)
// PASS:        plena-opt: error: {{.*}}no-such-pass
// MAIN:        plena-opt: error: {{.*}}the module has no function @main
// TARGET:      plena-opt: error: argument --target: {{.*}}8x3x8

%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp
