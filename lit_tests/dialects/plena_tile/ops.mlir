// RUN: plena-opt %s | plena-opt | filecheck %s

plena_tile.global "w" {type = memref<2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>, role = "weight", init = @init_w, layout = #plena_tile.layout<"tiles", #builtin.int<1>, #builtin.int<1>, #builtin.int<1>, #builtin.int<1>, #builtin.int<2>, #builtin.int<0>, false, #builtin.int<0>>, address = 64 : i64}
plena_tile.global "cache" {type = memref<1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, role = "cache"}

func.func @units() {
  %w = plena_tile.get_global @w : memref<2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
  %x = plena_tile.alloc {role = "output", address = 32 : i64} : memref<2x8x8xbf16, #plena_tile<space vram>>
  %m = plena_tile.alloc : memref<1x8x8xf32, #plena_tile<space mram>>
  %ids = plena_tile.alloc {role = "ids"} : memref<4xi32, #plena_tile<space intram>>
  %f = plena_tile.alloc : memref<8xbf16, #plena_tile<space fpram>>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  scf.for %i = %c0 to %c2 step %c1 {
    %tile = plena_tile.at %w affine_map<(d0) -> (d0, 0, 0)>(%i) : memref<2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>> -> !plena_tile.ref<#plena_tile<space hbm>>
    %place = plena_tile.at %m affine_map<() -> (0, 4, 0)>() : memref<1x8x8xf32, #plena_tile<space mram>> -> !plena_tile.ref<#plena_tile<space mram>>
    plena_tile.load_matrix %tile -> %place
    %view = plena_tile.view %x affine_map<(d0) -> (1, d0 * 4, 0)>(%i) : memref<2x8x8xbf16, #plena_tile<space vram>> -> memref<4x8xbf16, strided<[8, 1], offset: ?>, #plena_tile<space vram>>
    %row = plena_tile.at %view affine_map<() -> (0, 0)>() : memref<4x8xbf16, strided<[8, 1], offset: ?>, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
    plena_tile.load_rows %tile -> %row
    plena_tile.store_rows %row -> %tile
    plena_tile.accumulate mm %row, %place
    plena_tile.accumulate tmm %row, %place
    plena_tile.accumulate bmm %row, %place
    plena_tile.accumulate btmm %row, %place
    plena_tile.write_out btmm %row
    plena_tile.row_binary sub %row, %row, %row
    plena_tile.row_unary reciprocal %row, %row
    plena_tile.row_shift %row, %row by 3 : i64
    %id = plena_tile.at %ids affine_map<(d0) -> (d0)>(%i) : memref<4xi32, #plena_tile<space intram>> -> !plena_tile.ref<#plena_tile<space intram>>
    %token = plena_tile.load_index %id
    %word = plena_tile.at %f affine_map<(d0) -> (d0)>(%token) : memref<8xbf16, #plena_tile<space fpram>> -> !plena_tile.ref<#plena_tile<space fpram>>
    plena_tile.row_fill %row, %word
    %c = plena_tile.constant 5.000000e-01 : bf16
    plena_tile.row_scalar rsub %row, %row, %c
    %sum = plena_tile.row_reduce sum %c, %row
    %max = plena_tile.scalar_binary max %sum, %c
    %root = plena_tile.scalar_unary sqrt %max
    plena_tile.store_scalar %root, %word
    %loaded = plena_tile.load_scalar %word
  }
  func.return
}

// CHECK:       plena_tile.global "w" {type = memref<2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>, role = "weight", init = @init_w, layout = #plena_tile.layout<"tiles", #builtin.int<1>, #builtin.int<1>, #builtin.int<1>, #builtin.int<1>, #builtin.int<2>, #builtin.int<0>, false, #builtin.int<0>>, address = 64 : i64}
// CHECK-NEXT:  plena_tile.global "cache" {type = memref<1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, role = "cache"}
// CHECK:         %w = plena_tile.get_global @w : memref<2x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
// CHECK-NEXT:    %x = plena_tile.alloc {role = "output", address = 32 : i64} : memref<2x8x8xbf16, #plena_tile<space vram>>
// CHECK-NEXT:    %m = plena_tile.alloc : memref<1x8x8xf32, #plena_tile<space mram>>
// CHECK-NEXT:    %ids = plena_tile.alloc {role = "ids"} : memref<4xi32, #plena_tile<space intram>>
// CHECK-NEXT:    %f = plena_tile.alloc : memref<8xbf16, #plena_tile<space fpram>>
// CHECK:           %tile = plena_tile.at %w affine_map<(d0) -> (d0, 0, 0)>(%i)
// CHECK-NEXT:      %place = plena_tile.at %m affine_map<() -> (0, 4, 0)>()
// CHECK-NEXT:      plena_tile.load_matrix %tile -> %place
// CHECK-NEXT:      %view = plena_tile.view %x affine_map<(d0) -> (1, (d0 * 4), 0)>(%i) : memref<2x8x8xbf16, #plena_tile<space vram>> -> memref<4x8xbf16, strided<[8, 1], offset: ?>, #plena_tile<space vram>>
// CHECK-NEXT:      %row = plena_tile.at %view affine_map<() -> (0, 0)>()
// CHECK-NEXT:      plena_tile.load_rows %tile -> %row
// CHECK-NEXT:      plena_tile.store_rows %row -> %tile
// CHECK-NEXT:      plena_tile.accumulate mm %row, %place
// CHECK-NEXT:      plena_tile.accumulate tmm %row, %place
// CHECK-NEXT:      plena_tile.accumulate bmm %row, %place
// CHECK-NEXT:      plena_tile.accumulate btmm %row, %place
// CHECK-NEXT:      plena_tile.write_out btmm %row
// CHECK-NEXT:      plena_tile.row_binary sub %row, %row, %row
// CHECK-NEXT:      plena_tile.row_unary reciprocal %row, %row
// CHECK-NEXT:      plena_tile.row_shift %row, %row by 3 : i64
// CHECK-NEXT:      %id = plena_tile.at %ids affine_map<(d0) -> (d0)>(%i)
// CHECK-NEXT:      %token = plena_tile.load_index %id
// CHECK-NEXT:      %word = plena_tile.at %f affine_map<(d0) -> (d0)>(%token)
// CHECK-NEXT:      plena_tile.row_fill %row, %word
// CHECK-NEXT:      %c = plena_tile.constant 5.000000e-01 : bf16
// CHECK-NEXT:      plena_tile.row_scalar rsub %row, %row, %c
// CHECK-NEXT:      %sum = plena_tile.row_reduce sum %c, %row
// CHECK-NEXT:      %max = plena_tile.scalar_binary max %sum, %c
// CHECK-NEXT:      %root = plena_tile.scalar_unary sqrt %max
// CHECK-NEXT:      plena_tile.store_scalar %root, %word
// CHECK-NEXT:      %loaded = plena_tile.load_scalar %word

func.func @structured() {
  %w = plena_tile.get_global @w : memref<2x1x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>>
  %k = plena_tile.get_global @k : memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>
  %x = plena_tile.alloc : memref<1x8x8xbf16, #plena_tile<space vram>>
  %y = plena_tile.alloc : memref<2x8x8xbf16, #plena_tile<space vram>>
  plena_tile.matmul %x, %w -> %y {strategy = #plena_tile<strategy broadcast>, transposed, accumulate} : memref<1x8x8xbf16, #plena_tile<space vram>>, memref<2x1x8x8x!plena_tile.mx<#plena_tile<precision weight>>, #plena_tile<space hbm>> -> memref<2x8x8xbf16, #plena_tile<space vram>>
  plena_tile.attention %x, %k, %k mask %x -> %x {heads = 1 : i64, mask_kind = "causal", keys = 8 : i64} : memref<1x8x8xbf16, #plena_tile<space vram>>, memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, memref<1x8x8xbf16, #plena_tile<space vram>> -> memref<1x8x8xbf16, #plena_tile<space vram>>
  plena_tile.attention %x, %k, %k -> %x {heads = 1 : i64, mask_kind = "none", keys = 8 : i64} : memref<1x8x8xbf16, #plena_tile<space vram>>, memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>> -> memref<1x8x8xbf16, #plena_tile<space vram>>
  func.return
}

// CHECK:         plena_tile.matmul %x, %w -> %y {strategy = #plena_tile<strategy broadcast>, transposed, accumulate} : memref<1x8x8xbf16
// CHECK-NEXT:    plena_tile.attention %x, %k, %k mask %x -> %x {keys = 8 : i64, heads = 1 : i64, mask_kind = "causal"} : memref<1x8x8xbf16
// CHECK-NEXT:    plena_tile.attention %x, %k, %k -> %x {keys = 8 : i64, heads = 1 : i64, mask_kind = "none"} : memref<1x8x8xbf16

func.func @choice() {
  %x = plena_tile.alloc : memref<1x4x8xbf16, #plena_tile<space vram>>
  %lanes = plena_tile.alloc : memref<4xi32, #plena_tile<space intram>>
  %weights = plena_tile.alloc : memref<4xbf16, #plena_tile<space fpram>>
  %row = plena_tile.at %x affine_map<() -> (0, 0, 0)> () : memref<1x4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
  %first = plena_tile.at %lanes affine_map<() -> (0)> () : memref<4xi32, #plena_tile<space intram>> -> !plena_tile.ref<#plena_tile<space intram>>
  %weight = plena_tile.at %weights affine_map<() -> (0)> () : memref<4xbf16, #plena_tile<space fpram>> -> !plena_tile.ref<#plena_tile<space fpram>>
  plena_tile.row_topk %weight, %first, %row {policy = 0 : i64}
  func.return
}

// CHECK:         plena_tile.row_topk %weight, %first, %row {policy = 0 : i64}

func.func @sinks() {
  %k = plena_tile.get_global @k : memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>
  %x = plena_tile.alloc : memref<1x8x8xbf16, #plena_tile<space vram>>
  plena_tile.attention %x, %k, %k mask %x sinks %x -> %x {heads = 1 : i64, mask_kind = "causal"} : memref<1x8x8xbf16, #plena_tile<space vram>>, memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, memref<1x1x8x8x!plena_tile.mx<#plena_tile<precision kv>>, #plena_tile<space hbm>>, memref<1x8x8xbf16, #plena_tile<space vram>> sinks memref<1x8x8xbf16, #plena_tile<space vram>> -> memref<1x8x8xbf16, #plena_tile<space vram>>
  func.return
}

// CHECK:         plena_tile.attention %x, %k, %k mask %x sinks %x -> %x {heads = 1 : i64, mask_kind = "causal"}
