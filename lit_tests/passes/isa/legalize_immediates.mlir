// RUN: plena-opt %s --target 8x4x4 -p legalize-immediates | filecheck %s
// RUN: plena-opt %s --target 8x4x4 -p legalize-immediates -t plena-asm | filecheck %s --check-prefix=ASM

// CHECK:       %[[Z:.*]] = plena_isa.get_gp : !plena_isa.gp<gp0>
// CHECK-NEXT:  %{{.*}} = plena_isa.s_addi_int %[[Z]], 262143 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp1>
// CHECK-NEXT:  %[[U:.*]] = plena_isa.s_lui_int 64 : () -> !plena_isa.gp<gp2>
// CHECK-NEXT:  %{{.*}} = plena_isa.s_addi_int %[[U]], 1 : (!plena_isa.gp<gp2>) -> !plena_isa.gp<gp2>
// CHECK-NEXT:  %{{.*}} = plena_isa.s_lui_int 1048575 : () -> !plena_isa.gp<gp3>

// ASM:      S_ADDI_INT gp1, gp0, 262143
// ASM-NEXT: S_LUI_INT gp2, 64
// ASM-NEXT: S_ADDI_INT gp2, gp2, 1
// ASM-NEXT: S_LUI_INT gp3, 1048575
%a = plena_isa.li 262143 : !plena_isa.gp<gp1>
%b = plena_isa.li 262145 : !plena_isa.gp<gp2>
%c = plena_isa.li 4294963200 : !plena_isa.gp<gp3>
