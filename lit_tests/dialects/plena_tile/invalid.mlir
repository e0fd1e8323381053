// RUN: plena-opt %s --split-input-file --verify-diagnostics --parsing-diagnostics | filecheck %s

// CHECK: a global lives in hbm
plena_tile.global "w" {type = memref<8x8xbf16, #plena_tile<space vram>>, role = "weight"}

// -----

// CHECK: buffer type memref<8x8xbf16> has no plena_tile memory space
plena_tile.global "w" {type = memref<8x8xbf16>, role = "weight"}

// -----

%x = plena_tile.alloc : memref<2x4x8xbf16, #plena_tile<space vram>>
// CHECK: takes 1 indices, 0 are given
%row = plena_tile.at %x affine_map<(d0) -> (0, d0, 0)>() : memref<2x4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>

// -----

%x = plena_tile.alloc : memref<2x4x8xbf16, #plena_tile<space vram>>
// CHECK: has 2 results for a buffer of rank 3
%row = plena_tile.at %x affine_map<() -> (0, 0)>() : memref<2x4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>

// -----

%x = plena_tile.alloc : memref<2x4x8xbf16, #plena_tile<space vram>>
// CHECK: a view stays in the memory of its source
%y = plena_tile.view %x affine_map<() -> (0, 0, 0)>() : memref<2x4x8xbf16, #plena_tile<space vram>> -> memref<4x8xbf16, strided<[8, 1], offset: ?>, #plena_tile<space mram>>

// -----

%x = plena_tile.alloc : memref<4x8xbf16, #plena_tile<space vram>>
%row = plena_tile.at %x affine_map<() -> (0, 0)>() : memref<4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
// CHECK: operand is used with type !plena_tile.ref<#plena_tile<space mram>>
plena_tile.accumulate mm %row, %row

// -----

%x = plena_tile.alloc : memref<3x8x8xbf16, #plena_tile<space vram>>
%w = plena_tile.get_global @w : memref<2x1x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
%y = plena_tile.alloc : memref<2x8x8xbf16, #plena_tile<space vram>>
// CHECK: x has 3x8 blocks x rows, w 2x1 tiles, out 2x8
plena_tile.matmul %x, %w -> %y : memref<3x8x8xbf16, #plena_tile<space vram>>, memref<2x1x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>> -> memref<2x8x8xbf16, #plena_tile<space vram>>

// -----

%x = plena_tile.alloc : memref<1x8x8xbf16, #plena_tile<space vram>>
// CHECK: matmul takes rows from vram and tiles from hbm
plena_tile.matmul %x, %x -> %x : memref<1x8x8xbf16, #plena_tile<space vram>>, memref<1x8x8xbf16, #plena_tile<space vram>> -> memref<1x8x8xbf16, #plena_tile<space vram>>

// -----

// CHECK: Expected `add`, `sub`, or `mul`
plena_tile.row_binary div %a, %a, %a
