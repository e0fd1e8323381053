// RUN: plena-opt %s --target 8x4x4 -p 'limit-loop-instructions{limit=9}' | filecheck %s

// The inner loop executes 3 instructions an iteration. The outer one 1 + 2 * 3 and two more, which is allowed; with the third it
// exceeds the limit and is unrolled.

// CHECK:       plena.notes = ["unrolled a loop of 2 iterations: one iteration executes 10 instructions, the machine allows 9"]
// CHECK:       plena_isa.loop 3 {
// CHECK:       }
// CHECK-NEXT:  %[[P0:.*]] = plena_isa.s_addi_int %{{.*}}, 64
// CHECK-NEXT:  plena_isa.loop 2
// CHECK:       }
// CHECK-NEXT:  %[[P1:.*]] = plena_isa.s_addi_int %[[P0]], 8
// CHECK-NEXT:  plena_isa.v_add_vv %[[P0]]
// CHECK-NEXT:  plena_isa.loop 2
// CHECK:       }
// CHECK-NEXT:  %[[P2:.*]] = plena_isa.s_addi_int %[[P1]], 8
// CHECK-NEXT:  plena_isa.v_add_vv %[[P1]]
// CHECK-NEXT:  plena_isa.v_add_vv %[[P2]]
%z = plena_isa.get_gp : !plena_isa.gp<gp0>
plena_isa.loop 3 {
^bb0(%c : !plena_isa.gp<gp1>):
  plena_isa.v_add_vv %z, %z, %z : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.gp<gp0>) -> ()
}
%p0 = plena_isa.s_addi_int %z, 64 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp2>
%r = plena_isa.loop 2 iter_args(%p0) : (!plena_isa.gp<gp2>) -> !plena_isa.gp<gp2> {
^bb0(%c : !plena_isa.gp<gp1>, %p : !plena_isa.gp<gp2>):
  plena_isa.loop 2 {
  ^bb1(%d : !plena_isa.gp<gp3>):
    plena_isa.v_add_vv %p, %z, %z : (!plena_isa.gp<gp2>, !plena_isa.gp<gp0>, !plena_isa.gp<gp0>) -> ()
    plena_isa.v_add_vv %z, %z, %z : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.gp<gp0>) -> ()
  }
  %q = plena_isa.s_addi_int %p, 8 : (!plena_isa.gp<gp2>) -> !plena_isa.gp<gp2>
  plena_isa.v_add_vv %p, %z, %z : (!plena_isa.gp<gp2>, !plena_isa.gp<gp0>, !plena_isa.gp<gp0>) -> ()
  plena_isa.yield %q : !plena_isa.gp<gp2>
}
plena_isa.v_add_vv %r, %z, %z : (!plena_isa.gp<gp2>, !plena_isa.gp<gp0>, !plena_isa.gp<gp0>) -> ()
