// RUN: plena-opt %s -t 'plena-asm{comments=true}' | filecheck %s --match-full-lines
// RUN: plena-opt %s -t plena-asm -o %t.asm
// RUN: plena-opt %t.asm -t plena-asm | diff %t.asm -
// RUN: plena-opt %t.asm | filecheck %s --check-prefix FLAT

// Structured loops print as start and end; assembly reads back as flat operations on physical registers.

%z = plena_isa.get_gp : !plena_isa.gp<gp0>
%p = plena_isa.s_addi_int %z, 512 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp1> loc("model.norm")
%x = plena_isa.s_ld_int %z, 0 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp3>
%r = plena_isa.loop 1 iter_args(%p) extra(%x) : (!plena_isa.gp<gp1>, !plena_isa.gp<gp3>) -> !plena_isa.gp<gp1> {
^bb0(%c : !plena_isa.gp<gp2>, %q : !plena_isa.gp<gp1>):
  plena_isa.v_exp_v %q, %q, 0 : (!plena_isa.gp<gp1>, !plena_isa.gp<gp1>) -> ()
  plena_isa.v_add_vv %q, %q, %q : (!plena_isa.gp<gp1>, !plena_isa.gp<gp1>, !plena_isa.gp<gp1>) -> ()
  plena_isa.m_mm %q, %q : (!plena_isa.gp<gp1>, !plena_isa.gp<gp1>) -> ()
  %n = plena_isa.s_addi_int %q, 8 : (!plena_isa.gp<gp1>) -> !plena_isa.gp<gp1>
  plena_isa.yield %n : !plena_isa.gp<gp1>
} loc("model.layers.0")

// CHECK:      S_ADDI_INT gp1, gp0, 512 ; model.norm
// CHECK-NEXT: S_LD_INT gp3, gp0, 0
// CHECK-NEXT: C_LOOP_START gp2, 1 ; model.layers.0
// CHECK-NEXT: S_ADD_INT gp2, gp2, gp3 ; model.layers.0
// CHECK-NEXT: S_ADDI_INT gp3, gp0, 0 ; model.layers.0
// CHECK-NEXT: V_EXP_V gp1, gp1, 0
// CHECK-NEXT: V_ADD_VV gp1, gp1, gp1
// CHECK-NEXT: M_MM 0, gp1, gp1
// CHECK-NEXT: S_ADDI_INT gp1, gp1, 8
// CHECK-NEXT: C_LOOP_END gp2 ; model.layers.0

// FLAT: plena_isa.c_loop_start 1 : () -> !plena_isa.gp<gp2>
// FLAT: plena_isa.c_loop_end %{{.*}} : (!plena_isa.gp<gp2>) -> !plena_isa.gp<gp2>
