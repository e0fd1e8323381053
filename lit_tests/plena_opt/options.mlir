// RUN: plena-opt %s --target 8x4x4 --pass-pipeline 'builtin.module(dce,cse)' | filecheck %s
// RUN: plena-opt %s -p dce,cse --mlir-print-ir-after-all --mlir-timing 2>&1 | filecheck %s --check-prefix PASSES

// CHECK:      builtin.module attributes {plena.target = #plena.target<{name = "8x4x4", mlen = 8 : i64,
// CHECK-NEXT:   %0 = plena_isa.s_lui_int 3
// CHECK-NEXT:   %{{.*}} = plena_isa.c_set_addr_reg %0, %0

// PASSES:     IR Dump After DeadCodeElimination (dce)
// PASSES:     %1 = plena_isa.s_lui_int 3
// PASSES:     IR Dump After CommonSubexpressionElimination (cse)
// PASSES-NOT: %1 = plena_isa.s_lui_int 3
// PASSES:     Execution time report
// PASSES:     dce
// PASSES:     cse
// PASSES:     Total

%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp
%1 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp
%2 = plena_isa.c_set_addr_reg %0, %1 : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.addr<a1>
