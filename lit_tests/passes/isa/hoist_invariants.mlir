// RUN: plena-opt %s --target 8x4x4 -p hoist-invariants | filecheck %s

// Constants and what follows from them leave both loops and are shared; what depends on a pointer stays.

// CHECK:       %[[X:.*]] = plena_isa.li 8
// CHECK-NEXT:  %[[Y:.*]] = plena_isa.s_addi_int %[[X]], 16
// CHECK-NEXT:  %{{.*}} = plena_isa.loop 2 iter_args(%[[X]])
// CHECK-NEXT:  ^bb0(%{{.*}}: !plena_isa.gp, %[[P:.*]]: !plena_isa.gp):
// CHECK-NEXT:    plena_isa.loop 3 {
// CHECK-NEXT:    ^bb0
// CHECK-NEXT:      plena_isa.v_add_vv %[[Y]], %[[X]], %[[P]]
// CHECK-NEXT:    }
// CHECK-NEXT:    %[[Q:.*]] = plena_isa.s_addi_int %[[P]], 16
// CHECK-NEXT:    plena_isa.yield %[[Q]]
%x = plena_isa.li 8 : !plena_isa.gp
%r = plena_isa.loop 2 iter_args(%x) : (!plena_isa.gp) -> !plena_isa.gp {
^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):
  plena_isa.loop 3 {
  ^bb1(%d : !plena_isa.gp):
    %x2 = plena_isa.li 8 : !plena_isa.gp
    %y = plena_isa.s_addi_int %x2, 16 : (!plena_isa.gp) -> !plena_isa.gp
    plena_isa.v_add_vv %y, %x2, %p : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
  }
  %q = plena_isa.s_addi_int %p, 16 : (!plena_isa.gp) -> !plena_isa.gp
  plena_isa.yield %q : !plena_isa.gp
}
