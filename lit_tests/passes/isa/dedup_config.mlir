// RUN: plena-opt %s --target 8x4x4 -p dedup-config | filecheck %s

// The loop writes one value only, so the write moves in front of it; the strided transfers after it alternate.

// CHECK:       %[[A:.*]] = plena_isa.get_addr
// CHECK-NEXT:  %[[ONE:.*]] = plena_isa.li 64
// CHECK-NEXT:  %[[FRONT:.*]] = plena_isa.li 64
// CHECK-NEXT:  plena_isa.c_set_scale_reg %[[FRONT]]
// CHECK-NEXT:  plena_isa.loop 3 {
// CHECK-NEXT:  ^bb0
// CHECK-NEXT:    plena_isa.h_prefetch_v
// CHECK-NEXT:    plena_isa.h_prefetch_v
// CHECK-NEXT:  }
// CHECK-NEXT:  %[[TWO:.*]] = plena_isa.li 128
// CHECK-NEXT:  plena_isa.c_set_stride_reg %[[ONE]]
// CHECK-NEXT:  plena_isa.h_prefetch_v
// CHECK-NEXT:  plena_isa.c_set_stride_reg %[[TWO]]
// CHECK-NEXT:  plena_isa.h_prefetch_v
// CHECK-NEXT:  }
%z = plena_isa.get_gp : !plena_isa.gp<gp0>
%a = plena_isa.get_addr : !plena_isa.addr<a0>
%one = plena_isa.li 64 : !plena_isa.gp
plena_isa.loop 3 {
^bb0(%c : !plena_isa.gp):
  plena_isa.c_set_scale_reg %one : (!plena_isa.gp) -> ()
  plena_isa.h_prefetch_v %z, %z, %a, 0, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr<a0>) -> ()
  plena_isa.c_set_scale_reg %one : (!plena_isa.gp) -> ()
  plena_isa.h_prefetch_v %z, %z, %a, 0, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr<a0>) -> ()
}
%two = plena_isa.li 128 : !plena_isa.gp
plena_isa.c_set_scale_reg %one : (!plena_isa.gp) -> ()
plena_isa.c_set_stride_reg %one : (!plena_isa.gp) -> ()
plena_isa.h_prefetch_v %z, %z, %a, 1, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr<a0>) -> ()
plena_isa.c_set_stride_reg %two : (!plena_isa.gp) -> ()
plena_isa.h_prefetch_v %z, %z, %a, 1, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr<a0>) -> ()
