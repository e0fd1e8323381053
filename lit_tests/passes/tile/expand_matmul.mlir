// RUN: plena-opt %s --target 8x4x4 -p expand-matmul --split-input-file --verify-diagnostics | filecheck %s

!x = memref<2x8x8xbf16, #plena_tile<space vram>>
!w = memref<3x2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
!out = memref<3x8x8xbf16, #plena_tile<space vram>>

// Micro: all tiles of one block of outputs are resident; BLEN rows by BLEN outputs at a time, the sum over K innermost.
// CHECK-LABEL: func.func @micro
// CHECK-NEXT:    %[[TILES:.*]] = plena_tile.alloc : memref<2x8x8xf32, #plena_tile<space mram>>
// CHECK:         scf.for %[[N:.*]] =
// CHECK:           scf.for %[[K:.*]] =
// CHECK-NEXT:        %[[FROM:.*]] = plena_tile.at %w affine_map<(d0, d1) -> (d0, d1, 0, 0)>(%[[N]], %[[K]])
// CHECK-NEXT:        %[[TO:.*]] = plena_tile.at %[[TILES]] affine_map<(d0) -> (d0, 0, 0)>(%[[K]])
// CHECK-NEXT:        plena_tile.load_matrix %[[FROM]] -> %[[TO]]
// CHECK:           %[[ROWS:.*]] = arith.constant 8 : index
// CHECK:           %[[BLEN:.*]] = arith.constant 4 : index
// CHECK-NEXT:      scf.for %[[R:.*]] = %{{.*}} to %[[ROWS]] step %[[BLEN]]
// CHECK:             scf.for %[[C:.*]] =
// CHECK:               scf.for %[[K:.*]] =
// CHECK-NEXT:            %[[X:.*]] = plena_tile.at %x affine_map<(d0, d1) -> (d0, d1, 0)>(%[[K]], %[[R]])
// A transposed tile holds [outputs, inputs]: a column block of the product is a block of its rows.
// CHECK-NEXT:            %[[T:.*]] = plena_tile.at %[[TILES]] affine_map<(d0, d1) -> (d0, d1, 0)>(%[[K]], %[[C]])
// CHECK-NEXT:            plena_tile.accumulate tmm %[[X]], %[[T]]
// CHECK-NEXT:          }
// CHECK-NEXT:          %[[O:.*]] = plena_tile.at %out affine_map<(d0, d1, d2) -> (d0, d1, d2)>(%[[N]], %[[R]], %[[C]])
// CHECK-NEXT:          plena_tile.write_out tmm %[[O]]
func.func @micro(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy micro>, transposed} : !x, !w -> !out
  func.return
}

// A product that is added to its place passes through scratch rows, and so needs one more pass over them.
// CHECK-LABEL: func.func @micro_accumulate
// CHECK-NEXT:    %[[TILES:.*]] = plena_tile.alloc : memref<2x8x8xf32
// CHECK-NEXT:    %[[SCRATCH:.*]] = plena_tile.alloc : memref<1x8x8xbf16, #plena_tile<space vram>>
// CHECK:         plena_tile.accumulate mm
// CHECK:         plena_tile.at %[[SCRATCH]]
// CHECK-NEXT:    plena_tile.write_out mm
// CHECK:         plena_tile.row_binary add %[[P:.*]], %[[P]], %{{.*}}
// CHECK-NOT:     plena_tile.write_out
func.func @micro_accumulate(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy micro>, accumulate} : !x, !w -> !out
  func.return
}

// Broadcast, two heads of 4 lanes: slice 0 of K needs the rows 4 lanes higher, slice 1 takes them as they are; both add up in the last
// head, whose 8 rows are the second half of what is written out. One tile at a time is enough.
// CHECK-LABEL: func.func @broadcast
// CHECK-NEXT:    %[[SHIFTED:.*]] = plena_tile.alloc : memref<2x8x8xbf16, #plena_tile<space vram>>
// CHECK:         plena_tile.row_shift %{{.*}}, %{{.*}} by 4 : i64
// CHECK:         %[[TILE:.*]] = plena_tile.alloc : memref<1x8x8xf32, #plena_tile<space mram>>
// CHECK-NEXT:    %[[SCRATCH:.*]] = plena_tile.alloc : memref<1x16x8xbf16, #plena_tile<space vram>>
// CHECK:         scf.for %[[N:.*]] =
// CHECK:           scf.for %[[K:.*]] =
// CHECK:             plena_tile.load_matrix
// CHECK-NEXT:        %[[SLICE0:.*]] = plena_tile.at %[[TILE]] affine_map<() -> (0, 0, 0)>()
// CHECK-NEXT:        %[[X0:.*]] = plena_tile.at %[[SHIFTED]] affine_map<(d0) -> (d0, 0, 0)>(%[[K]])
// CHECK-NEXT:        plena_tile.accumulate btmm %[[X0]], %[[SLICE0]]
// CHECK-NEXT:        %[[SLICE1:.*]] = plena_tile.at %[[TILE]] affine_map<() -> (0, 0, 4)>()
// CHECK-NEXT:        %[[X1:.*]] = plena_tile.at %x affine_map<(d0) -> (d0, 0, 0)>(%[[K]])
// CHECK-NEXT:        plena_tile.accumulate btmm %[[X1]], %[[SLICE1]]
// CHECK-NEXT:      }
// CHECK-NEXT:      %[[S:.*]] = plena_tile.at %[[SCRATCH]] affine_map<() -> (0, 0, 0)>()
// CHECK-NEXT:      plena_tile.write_out btmm %[[S]]
// CHECK:           plena_tile.at %out affine_map<(d0, d1) -> (d0, d1, 0)>(%[[N]], %[[R:.*]])
// CHECK-NEXT:      plena_tile.at %[[SCRATCH]] affine_map<(d0) -> (0, (d0 + 8), 0)>(%[[R]])
// CHECK-NEXT:      plena_tile.row_scalar add
func.func @broadcast(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy broadcast>, transposed} : !x, !w -> !out
  func.return
}

// -----

!x = memref<2x24x8xbf16, #plena_tile<space vram>>
!w = memref<3x2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
!out = memref<3x24x8xbf16, #plena_tile<space vram>>

// Several blocks of rows share the tiles of one block of outputs: each is fetched once.
// CHECK-LABEL: func.func @rows
// CHECK:         plena_tile.alloc : memref<2x8x8xf32, #plena_tile<space mram>>
// CHECK:         scf.for
// CHECK:           scf.for
// CHECK:             plena_tile.load_matrix
// CHECK:           }
// CHECK:           %[[BLOCKS:.*]] = arith.constant 3 : index
// CHECK:           scf.for %{{.*}} = %{{.*}} to %[[BLOCKS]]
// CHECK-NOT:       plena_tile.load_matrix
// CHECK:           plena_tile.write_out btmm
func.func @rows(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy broadcast>, transposed} : !x, !w -> !out
  func.return
}

// -----

!x = memref<513x8x8xbf16, #plena_tile<space vram>>
!w = memref<1x513x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
!out = memref<1x8x8xbf16, #plena_tile<space vram>>

// CHECK: the product needs 513 tiles in Matrix SRAM, which holds 512 (run split-k before expand-matmul)
func.func @too_many(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy micro>, transposed} : !x, !w -> !out
  func.return
}

// -----

!x = memref<1x8x8xbf16, #plena_tile<space vram>>
!w = memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>

// CHECK: the product has no strategy
func.func @undecided(%x : !x, %w : !w, %out : !x) {
  plena_tile.matmul %x, %w -> %out {transposed} : !x, !w -> !x
  func.return
}
