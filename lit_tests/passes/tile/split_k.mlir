// RUN: plena-opt %s --target 256x64x64 -p split-k | filecheck %s

// Matrix SRAM of this target holds 16 tiles.

!x = memref<40x64x256xbf16, #plena_tile<space vram>>
!w = memref<2x40x256x256x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
!out = memref<2x64x256xbf16, #plena_tile<space vram>>
!x16 = memref<16x64x256xbf16, #plena_tile<space vram>>
!w16 = memref<2x16x256x256x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
!x256 = memref<17x256x256xbf16, #plena_tile<space vram>>
!w17 = memref<2x17x256x256x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
!out256 = memref<2x256x256xbf16, #plena_tile<space vram>>
!x512 = memref<17x512x256xbf16, #plena_tile<space vram>>
!out512 = memref<2x512x256xbf16, #plena_tile<space vram>>

// CHECK-LABEL: func.func @parts
// CHECK-NEXT:    %[[X0:.*]] = plena_tile.view %x affine_map<() -> (0, 0, 0)>() : {{.*}} -> memref<16x64x256xbf16, strided<[16384, 256, 1]
// CHECK-NEXT:    %[[W0:.*]] = plena_tile.view %w affine_map<() -> (0, 0, 0, 0)>() : {{.*}} -> memref<2x16x256x256x{{.*}}, strided<[2621440, 65536, 256, 1]
// CHECK-NEXT:    plena_tile.matmul %[[X0]], %[[W0]] -> %out {strategy = #plena_tile<strategy micro>, transposed}
// CHECK-NEXT:    %[[X1:.*]] = plena_tile.view %x affine_map<() -> (16, 0, 0)>()
// CHECK-NEXT:    %[[W1:.*]] = plena_tile.view %w affine_map<() -> (0, 16, 0, 0)>()
// CHECK-NEXT:    plena_tile.matmul %[[X1]], %[[W1]] -> %out {strategy = #plena_tile<strategy micro>, transposed, accumulate}
// CHECK-NEXT:    %[[X2:.*]] = plena_tile.view %x affine_map<() -> (32, 0, 0)>() : {{.*}} -> memref<8x64x256xbf16
// CHECK-NEXT:    %[[W2:.*]] = plena_tile.view %w affine_map<() -> (0, 32, 0, 0)>() : {{.*}} -> memref<2x8x256x256x
// CHECK-NEXT:    plena_tile.matmul %[[X2]], %[[W2]] -> %out {strategy = #plena_tile<strategy micro>, transposed, accumulate}
// CHECK-NEXT:    func.return
func.func @parts(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy micro>, transposed} : !x, !w -> !out
  func.return
}

// What fits stays whole, and what accumulates already goes on doing so.
// CHECK-LABEL: func.func @fits
// CHECK-NEXT:    plena_tile.matmul %x, %w -> %out
// CHECK-NEXT:    func.return
func.func @fits(%x : !x16, %w : !w16, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy micro>, transposed} : !x16, !w16 -> !out
  func.return
}

// CHECK-LABEL: func.func @accumulates
// CHECK:         plena_tile.matmul {{.*}} accumulate
// CHECK:         plena_tile.matmul {{.*}} accumulate
// CHECK:         plena_tile.matmul {{.*}} accumulate
func.func @accumulates(%x : !x, %w : !w, %out : !out) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy micro>, transposed, accumulate} : !x, !w -> !out
  func.return
}

// One block of rows in broadcast form needs one tile at a time; several keep theirs.
// CHECK-LABEL: func.func @one_block_of_rows
// CHECK-NEXT:    plena_tile.matmul %x, %w -> %out
// CHECK-LABEL: func.func @blocks_of_rows
// CHECK:         plena_tile.matmul {{.*}} : memref<16x512x256xbf16
// CHECK:         plena_tile.matmul {{.*}} accumulate} : memref<1x512x256xbf16
func.func @one_block_of_rows(%x : !x256, %w : !w17, %out : !out256) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy broadcast>, transposed} : !x256, !w17 -> !out256
  func.return
}
func.func @blocks_of_rows(%x : !x512, %w : !w17, %out : !out512) {
  plena_tile.matmul %x, %w -> %out {strategy = #plena_tile<strategy broadcast>, transposed} : !x512, !w17 -> !out512
  func.return
}
