// RUN: plena-opt %s --target 8x4x4 -p convert-tile-to-isa | filecheck %s

// A loop variable with a factor becomes a pointer that moves on after its last use; the inner pointer of `x` starts from the outer
// one and hands it back where the outer one needs it next, 32 elements further on than where the inner loop ended.

// CHECK:       plena.fpsram_preload = {address = 0 : i64, halves = array<i16: 14336>}
// CHECK-SAME:  plena.fp_words_used = 1 : i64
// CHECK:         %[[Z:.*]] = plena_isa.get_gp : !plena_isa.gp<gp0>
// CHECK:         %[[HALF:.*]] = plena_isa.s_ld_fp %[[Z]], 0
// CHECK-NEXT:    %[[BASE:.*]] = plena_isa.li 64
// CHECK-NEXT:    %{{.*}} = plena_isa.loop 2 iter_args(%[[BASE]])
// CHECK-NEXT:    ^bb0(%{{.*}}: !plena_isa.gp, %[[OUTER:.*]]: !plena_isa.gp):
// CHECK-NEXT:      %[[RESULT:.*]] = plena_isa.loop 4 iter_args(%[[OUTER]])
// CHECK-NEXT:      ^bb0(%{{.*}}: !plena_isa.gp, %[[INNER:.*]]: !plena_isa.gp):
// CHECK-NEXT:        %[[OUT:.*]] = plena_isa.s_addi_int %[[INNER]], 64
// CHECK-NEXT:        plena_isa.v_add_vf %[[OUT]], %[[INNER]], %[[HALF]]
// CHECK-NEXT:        %[[NEXT:.*]] = plena_isa.s_addi_int %[[INNER]], 8
// CHECK-NEXT:        plena_isa.yield %[[NEXT]]
// CHECK-NEXT:      }
// CHECK-NEXT:      plena_isa.yield %[[RESULT]]
// CHECK-NEXT:    }

// A tensor in HBM: scale distance, row stride, address register, offset, KV format.

// CHECK-NEXT:    %[[ELEMENTS:.*]] = plena_isa.li 128
// CHECK-NEXT:    plena_isa.c_set_scale_reg %[[ELEMENTS]]
// CHECK-NEXT:    %[[STRIDE:.*]] = plena_isa.li 16
// CHECK-NEXT:    plena_isa.c_set_stride_reg %[[STRIDE]]
// CHECK-NEXT:    %[[OFFSET:.*]] = plena_isa.li 72
// CHECK-NEXT:    %[[HIGH:.*]] = plena_isa.li 1
// CHECK-NEXT:    %[[LOW:.*]] = plena_isa.li 4096
// CHECK-NEXT:    %[[HBM:.*]] = plena_isa.c_set_addr_reg %[[HIGH]], %[[LOW]]
// CHECK-NEXT:    plena_isa.h_store_v %[[ELEMENTS]], %[[OFFSET]], %[[HBM]], 1, 1
plena_tile.global "cache" {type = memref<8x16x!plena_tile.mx<#plena_tile.precision kv>, #plena_tile.space hbm>, role = "cache", address = 4294971392 : i64}
func.func @main() {
  %x = plena_tile.alloc {address = 64 : i64} : memref<2x4x8xbf16, #plena_tile.space vram>
  %out = plena_tile.alloc {address = 128 : i64} : memref<2x4x8xbf16, #plena_tile.space vram>
  %cache = plena_tile.get_global @cache : memref<8x16x!plena_tile.mx<#plena_tile.precision kv>, #plena_tile.space hbm>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %half = plena_tile.constant 0.5 : bf16
  scf.for %i = %c0 to %c2 step %c1 {
    scf.for %j = %c0 to %c4 step %c1 {
      %from = plena_tile.at %x affine_map<(d0, d1) -> (d0, d1, 0)>(%i, %j) : memref<2x4x8xbf16, #plena_tile.space vram> -> !plena_tile.ref<#plena_tile.space vram>
      %to = plena_tile.at %out affine_map<(d0, d1) -> (d0, d1, 0)>(%i, %j) : memref<2x4x8xbf16, #plena_tile.space vram> -> !plena_tile.ref<#plena_tile.space vram>
      plena_tile.row_scalar add %to, %from, %half
    }
  }
  %rows = plena_tile.at %out affine_map<() -> (0, 0, 0)>() : memref<2x4x8xbf16, #plena_tile.space vram> -> !plena_tile.ref<#plena_tile.space vram>
  %place = plena_tile.at %cache affine_map<() -> (4, 8)>() : memref<8x16x!plena_tile.mx<#plena_tile.precision kv>, #plena_tile.space hbm> -> !plena_tile.ref<#plena_tile.space hbm>
  plena_tile.store_rows %rows -> %place
  func.return
}
