// RUN: plena-opt %s --target 8x4x4 -p 'allocate-registers{verify=true}' --split-input-file | filecheck %s

// One register serves the init value, the argument, the yielded value and the result of a loop. The init value of the second loop is
// a constant that is still needed: it is computed again.

// CHECK:       %[[P0:.*]] = plena_isa.li 64 : !plena_isa.gp<[[P:gp[0-9]+]]>
// CHECK:       %[[R:.*]] = plena_isa.loop 5 iter_args(%{{.*}}) : (!plena_isa.gp<[[Q:gp[0-9]+]]>) -> !plena_isa.gp<[[Q]]> {
// CHECK-NEXT:  ^bb0(%{{.*}}: !plena_isa.gp<{{gp[0-9]+}}>, %[[A:.*]]: !plena_isa.gp<[[Q]]>):
// CHECK-NEXT:    %{{.*}} = plena_isa.s_addi_int %[[A]], 8 : (!plena_isa.gp<[[Q]]>) -> !plena_isa.gp<[[Q]]>
// CHECK:       plena_isa.v_add_vv %[[P0]], %[[P0]], %[[R]] : (!plena_isa.gp<[[P]]>, !plena_isa.gp<[[P]]>, !plena_isa.gp<[[Q]]>)
%p0 = plena_isa.li 64 : !plena_isa.gp
%r = plena_isa.loop 5 iter_args(%p0) : (!plena_isa.gp) -> !plena_isa.gp {
^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):
  %q = plena_isa.s_addi_int %p, 8 : (!plena_isa.gp) -> !plena_isa.gp
  plena_isa.yield %q : !plena_isa.gp
}
plena_isa.v_add_vv %p0, %p0, %r : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()

// -----

// A reduction reads and writes one register; f0 must stay zero, so it is copied.

// CHECK:       %[[F0:.*]] = plena_isa.get_fp : !plena_isa.fp<f0>
// CHECK:       %[[COPY:.*]] = plena_isa.s_max_fp %[[F0]], %[[F0]] : (!plena_isa.fp<f0>, !plena_isa.fp<f0>) -> !plena_isa.fp<f1>
// CHECK-NEXT:  %{{.*}} = plena_isa.v_red_sum %[[COPY]], %{{.*}} : (!plena_isa.fp<f1>, !plena_isa.gp<gp0>) -> !plena_isa.fp<f1>
%z = plena_isa.get_gp : !plena_isa.gp<gp0>
%f0 = plena_isa.get_fp : !plena_isa.fp<f0>
%s = plena_isa.v_red_sum %f0, %z : (!plena_isa.fp<f0>, !plena_isa.gp<gp0>) -> !plena_isa.fp
plena_isa.s_st_fp %s, %z, 2 : (!plena_isa.fp, !plena_isa.gp<gp0>) -> ()
