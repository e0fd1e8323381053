// RUN: plena-opt %s | filecheck %s
// RUN: plena-opt %s --print-op-generic | plena-opt | filecheck %s

// Every instruction, with its optional operands written out.

%g, %f, %a = "test.op"() : () -> (!plena_isa.gp, !plena_isa.fp, !plena_isa.addr)

plena_isa.m_mm %g, %g : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK:      plena_isa.m_mm %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_tmm %g, %g : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_tmm %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_bmm %g, %g : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_bmm %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_btmm %g, %g : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_btmm %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_bmm_wo %g, 1 : (!plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_bmm_wo %{{.*}}, 1 : (!plena_isa.gp) -> ()
plena_isa.m_mm_wo %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_mm_wo %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_mv %g, %g : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_mv %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_tmv %g, %g : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_tmv %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_bmv %g, %g, %g : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_bmv %{{.*}}, %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_btmv %g, %g, %g : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_btmv %{{.*}}, %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.m_mv_wo %g, 1 : (!plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_mv_wo %{{.*}}, 1 : (!plena_isa.gp) -> ()
plena_isa.m_bmv_wo %g, 1 : (!plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.m_bmv_wo %{{.*}}, 1 : (!plena_isa.gp) -> ()
plena_isa.v_add_vv %g, %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_add_vv %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.v_add_vf %g, %g, %f, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
// CHECK-NEXT: plena_isa.v_add_vf %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
plena_isa.v_sub_vv %g, %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_sub_vv %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.v_sub_vf %g, %g, %f, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
// CHECK-NEXT: plena_isa.v_sub_vf %{{.*}}, %{{.*}}, %{{.*}}, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
plena_isa.v_mul_vv %g, %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_mul_vv %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.v_mul_vf %g, %g, %f, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
// CHECK-NEXT: plena_isa.v_mul_vf %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
plena_isa.v_exp_v %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_exp_v %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.v_reci_v %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_reci_v %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
%r20 = plena_isa.v_red_sum %f, %g, 1 : (!plena_isa.fp, !plena_isa.gp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.v_red_sum %{{.*}}, %{{.*}}, 1 : (!plena_isa.fp, !plena_isa.gp) -> !plena_isa.fp
%r21 = plena_isa.v_red_max %f, %g, 1 : (!plena_isa.fp, !plena_isa.gp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.v_red_max %{{.*}}, %{{.*}}, 1 : (!plena_isa.fp, !plena_isa.gp) -> !plena_isa.fp
%r22 = plena_isa.s_add_fp %f, %f : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_add_fp %{{.*}}, %{{.*}} : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
%r23 = plena_isa.s_sub_fp %f, %f : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_sub_fp %{{.*}}, %{{.*}} : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
%r24 = plena_isa.s_max_fp %f, %f : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_max_fp %{{.*}}, %{{.*}} : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
%r25 = plena_isa.s_mul_fp %f, %f : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_mul_fp %{{.*}}, %{{.*}} : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
%r26 = plena_isa.s_exp_fp %f : (!plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_exp_fp %{{.*}} : (!plena_isa.fp) -> !plena_isa.fp
%r27 = plena_isa.s_reci_fp %f : (!plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_reci_fp %{{.*}} : (!plena_isa.fp) -> !plena_isa.fp
%r28 = plena_isa.s_sqrt_fp %f : (!plena_isa.fp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_sqrt_fp %{{.*}} : (!plena_isa.fp) -> !plena_isa.fp
%r29 = plena_isa.s_ld_fp %g, 1 : (!plena_isa.gp) -> !plena_isa.fp
// CHECK-NEXT: %{{.*}} = plena_isa.s_ld_fp %{{.*}}, 1 : (!plena_isa.gp) -> !plena_isa.fp
plena_isa.s_st_fp %f, %g, 1 : (!plena_isa.fp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.s_st_fp %{{.*}}, %{{.*}}, 1 : (!plena_isa.fp, !plena_isa.gp) -> ()
plena_isa.s_map_v_fp %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.s_map_v_fp %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
%r32 = plena_isa.s_add_int %g, %g : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.s_add_int %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp
%r33 = plena_isa.s_addi_int %g, 1 : (!plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.s_addi_int %{{.*}}, 1 : (!plena_isa.gp) -> !plena_isa.gp
%r34 = plena_isa.s_sub_int %g, %g : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.s_sub_int %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp
%r35 = plena_isa.s_mul_int %g, %g : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.s_mul_int %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp
%r36 = plena_isa.s_lui_int 1 : () -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.s_lui_int 1 : () -> !plena_isa.gp
%r37 = plena_isa.s_ld_int %g, 1 : (!plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.s_ld_int %{{.*}}, 1 : (!plena_isa.gp) -> !plena_isa.gp
plena_isa.s_st_int %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.s_st_int %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.h_prefetch_m %g, %g, %a, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.addr) -> ()
// CHECK-NEXT: plena_isa.h_prefetch_m %{{.*}}, %{{.*}}, %{{.*}}, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.addr) -> ()
plena_isa.h_prefetch_v %g, %g, %a, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.addr) -> ()
// CHECK-NEXT: plena_isa.h_prefetch_v %{{.*}}, %{{.*}}, %{{.*}}, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.addr) -> ()
plena_isa.h_store_v %g, %g, %a, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.addr) -> ()
// CHECK-NEXT: plena_isa.h_store_v %{{.*}}, %{{.*}}, %{{.*}}, 1, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.addr) -> ()
%r42 = plena_isa.c_set_addr_reg %g, %g : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.addr
// CHECK-NEXT: %{{.*}} = plena_isa.c_set_addr_reg %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.addr
plena_isa.c_set_scale_reg %g : (!plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.c_set_scale_reg %{{.*}} : (!plena_isa.gp) -> ()
plena_isa.c_set_stride_reg %g : (!plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.c_set_stride_reg %{{.*}} : (!plena_isa.gp) -> ()
plena_isa.c_set_v_mask_reg %g : (!plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.c_set_v_mask_reg %{{.*}} : (!plena_isa.gp) -> ()
%r46 = plena_isa.c_loop_start 1 : () -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.c_loop_start 1 : () -> !plena_isa.gp
%r47 = plena_isa.c_loop_end %g : (!plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT: %{{.*}} = plena_isa.c_loop_end %{{.*}} : (!plena_isa.gp) -> !plena_isa.gp
plena_isa.v_ps_v %g, %g, %g : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_ps_v %{{.*}}, %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.v_shft_v %g, %g, %g : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_shft_v %{{.*}}, %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.c_hadamard_transform %g, %g, %g : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.c_hadamard_transform %{{.*}}, %{{.*}}, %{{.*}} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
plena_isa.c_break
// CHECK-NEXT: plena_isa.c_break
plena_isa.v_max_vf %g, %g, %f, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
// CHECK-NEXT: plena_isa.v_max_vf %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
plena_isa.v_min_vf %g, %g, %f, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
// CHECK-NEXT: plena_isa.v_min_vf %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.fp) -> ()
plena_isa.v_topk %g, %g, %g, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT: plena_isa.v_topk %{{.*}}, %{{.*}}, %{{.*}}, 1 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
