// RUN: plena-opt %s --target 8x4x4 -p expand-attention --split-input-file --verify-diagnostics | filecheck %s

!q = memref<4x8x8xbf16, #plena_tile<space vram>>
!kv = memref<2x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>
!mask = memref<1x8x8xbf16, #plena_tile<space vram>>

// One block of keys: scores, mask, softmax and normalisation row by row, then the values; neither maximum nor sum is stored.
// Query heads 0, 1 read key head 0, query heads 2, 3 key head 1.
// CHECK-LABEL: func.func @one_block
// CHECK-NOT:     #plena_tile<space fpram>
// CHECK:         scf.for %[[KV:.*]] = %{{.*}} to %{{.*}}
// CHECK:           scf.for %[[MEMBER:.*]] = %{{.*}} to %{{.*}}
// CHECK:             %[[Q:.*]] = plena_tile.view %q affine_map<(d0, d1) -> (((d0 * 2) + d1), 0, 0)>(%[[KV]], %[[MEMBER]])
// CHECK:             %[[K:.*]] = plena_tile.view %k affine_map<(d0) -> (d0, 0, 0, 0)>(%[[KV]])
// CHECK:             plena_tile.matmul %[[Q]], %[[K]] -> %[[S:.*]] {strategy = #plena_tile<strategy broadcast>, transposed}
// CHECK:             scf.for %[[ROW:.*]] =
// CHECK-NEXT:          %[[P:.*]] = plena_tile.at %[[S]] affine_map<(d0) -> (0, d0, 0)>(%[[ROW]])
// The broadcast form leaves a factor of 1/4.
// CHECK-NEXT:          plena_tile.row_scalar mul %[[P]], %[[P]],
// CHECK-NEXT:          %[[M:.*]] = plena_tile.at %mask affine_map<(d0) -> (0, d0, 0)>(%[[ROW]])
// CHECK-NEXT:          plena_tile.row_binary add %[[P]], %[[P]], %[[M]]
// CHECK-NEXT:          %[[MAX:.*]] = plena_tile.row_reduce max %{{.*}}, %[[P]]
// CHECK-NEXT:          plena_tile.row_scalar sub %[[P]], %[[P]], %[[MAX]]
// CHECK-NEXT:          plena_tile.row_unary exp %[[P]], %[[P]]
// CHECK-NEXT:          %[[SUM:.*]] = plena_tile.row_reduce sum %{{.*}}, %[[P]]
// CHECK-NEXT:          %[[INVERSE:.*]] = plena_tile.scalar_unary reciprocal %[[SUM]]
// CHECK-NEXT:          plena_tile.row_scalar mul %[[P]], %[[P]], %[[INVERSE]]
// CHECK-NEXT:        }
// CHECK:             %[[OUT:.*]] = plena_tile.view %out affine_map<(d0, d1) -> (((d0 * 2) + d1), 0, 0)>(%[[KV]], %[[MEMBER]])
// CHECK:             plena_tile.matmul %[[S]], %{{.*}} -> %[[OUT]] {strategy = #plena_tile<strategy micro>}
func.func @one_block(%q : !q, %k : !kv, %v : !kv, %mask : !mask, %out : !q) {
  plena_tile.attention %q, %k, %v mask %mask -> %out {heads = 4 : i64, mask_kind = "causal", scores_strategy = #plena_tile<strategy broadcast>, values_strategy = #plena_tile<strategy micro>} : !q, !kv, !kv, !mask -> !q
  func.return
}

// -----

!q = memref<1x24x8xbf16, #plena_tile<space vram>>
!kv = memref<1x1x24x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>
!mask = memref<3x8x8xbf16, #plena_tile<space vram>>

// Three blocks: maxima and sums live in FP SRAM; block b of queries sees b + 1 blocks of keys, from the diagonal back.
// CHECK-LABEL: func.func @online
// CHECK:         %[[MAXIMA:.*]] = plena_tile.alloc : memref<8xbf16, #plena_tile<space fpram>>
// CHECK-NEXT:    %[[SUMS:.*]] = plena_tile.alloc : memref<8xbf16, #plena_tile<space fpram>>
// CHECK:         scf.for %[[SEEN:.*]] = %{{.*}} to
// CHECK:           scf.for
// CHECK:             plena_tile.store_scalar
// CHECK:             plena_tile.store_scalar
// CHECK:             plena_tile.row_shift %[[O:.*]], %[[O]] by 8 : i64
// CHECK:           scf.for %[[DISTANCE:.*]] = %{{.*}} to %[[SEEN]] step
// CHECK:             plena_tile.view %k affine_map<(d0, d1) -> (0, 0, {{.*}}d0 * 8{{.*}}d1 * -8{{.*}}, 0)>(%[[SEEN]], %[[DISTANCE]])
// CHECK:             plena_tile.matmul
// CHECK:             plena_tile.at %mask affine_map<(d0, d1) -> (d0, d1, 0)>(%[[DISTANCE]], %{{.*}})
// CHECK:             %[[OLD:.*]] = plena_tile.load_scalar
// CHECK:             %[[NEW:.*]] = plena_tile.row_reduce max %[[OLD]]
// CHECK:             %[[CHANGE:.*]] = plena_tile.scalar_binary sub %[[OLD]], %[[NEW]]
// CHECK-NEXT:        %[[DECAY:.*]] = plena_tile.scalar_unary exp %[[CHANGE]]
// CHECK:             %[[KEPT:.*]] = plena_tile.scalar_binary mul %{{.*}}, %[[DECAY]]
// CHECK-NEXT:        plena_tile.row_reduce sum %[[KEPT]]
// CHECK:             plena_tile.row_scalar mul %{{.*}}, %{{.*}}, %[[DECAY]]
// CHECK:             plena_tile.matmul {{.*}} accumulate
// CHECK:           plena_tile.scalar_unary reciprocal
func.func @online(%q : !q, %k : !kv, %v : !kv, %mask : !mask, %out : !q) {
  plena_tile.attention %q, %k, %v mask %mask -> %out {heads = 1 : i64, mask_kind = "causal", scores_strategy = #plena_tile<strategy micro>, values_strategy = #plena_tile<strategy micro>} : !q, !kv, !kv, !mask -> !q
  func.return
}

// Without a mask every block of queries sees every block of keys.
// CHECK-LABEL: func.func @unmasked
// CHECK:         %[[BLOCKS:.*]] = arith.constant 3 : index
// CHECK:         scf.for %{{.*}} = %{{.*}} to %[[BLOCKS]] step
// CHECK:           plena_tile.view %k affine_map<(d0) -> (0, 0, (d0 * 8), 0)>
// CHECK-NOT:       row_binary add
// CHECK:           plena_tile.row_reduce max
func.func @unmasked(%q : !q, %k : !kv, %v : !kv, %out : !q) {
  plena_tile.attention %q, %k, %v -> %out {heads = 1 : i64, mask_kind = "none", scores_strategy = #plena_tile<strategy micro>, values_strategy = #plena_tile<strategy micro>} : !q, !kv, !kv -> !q
  func.return
}

// -----

!q = memref<1x8x8xbf16, #plena_tile<space vram>>
!kv = memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>

// CHECK: the attention has no strategies
func.func @undecided(%q : !q, %k : !kv, %v : !kv, %out : !q) {
  plena_tile.attention %q, %k, %v -> %out {heads = 1 : i64, mask_kind = "none"} : !q, !kv, !kv -> !q
  func.return
}
