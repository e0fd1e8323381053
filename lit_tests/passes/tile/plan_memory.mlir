// RUN: plena-opt %s --target 8x4x4 -p 'plan-memory{verify=true}' | filecheck %s

// CHECK: plena.memory = {hbm_bytes = 82 : i64, vram_rows = 12 : i64, mram_tiles = 1 : i64, fpram_words = 0 : i64, intram_words = 0 : i64}

// Elements and scales of the first global take 9 bytes; each global starts a block of 64.
// CHECK: plena_tile.global "gain" {{.*}} address = 0 : i64}
// CHECK: plena_tile.global "input" {{.*}} address = 64 : i64}
plena_tile.global "gain" {type = memref<1x8x!plena_tile.mx<#plena_tile<precision act>>, #plena_tile<space hbm>>, role = "weight"}
plena_tile.global "input" {type = memref<2x8x!plena_tile.mx<#plena_tile<precision act>>, #plena_tile<space hbm>>, role = "input"}

func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  // `kept` lives through the loop that uses it, so the buffers of the loop body go elsewhere; those share their rows.
  // CHECK: %kept = plena_tile.alloc {address = 0 : i64}
  // CHECK: %first = plena_tile.alloc {address = 64 : i64}
  // CHECK: %second = plena_tile.alloc {address = 64 : i64}
  // CHECK: %unused = plena_tile.alloc {address = 0 : i64} : memref<1x8x8xf32
  // CHECK: %out = plena_tile.alloc {role = "output", address = 0 : i64}
  %kept = plena_tile.alloc : memref<8x8xbf16, #plena_tile<space vram>>
  %row = plena_tile.at %kept affine_map<() -> (0, 0)>() : memref<8x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
  scf.for %i = %c0 to %c2 step %c1 {
    %first = plena_tile.alloc : memref<4x8xbf16, #plena_tile<space vram>>
    %a = plena_tile.at %first affine_map<() -> (0, 0)>() : memref<4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
    plena_tile.row_shift %a, %row by 8 : i64
    %second = plena_tile.alloc : memref<4x8xbf16, #plena_tile<space vram>>
    %b = plena_tile.at %second affine_map<() -> (0, 0)>() : memref<4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
    plena_tile.row_shift %b, %row by 8 : i64
  }
  %unused = plena_tile.alloc : memref<1x8x8xf32, #plena_tile<space mram>>
  %out = plena_tile.alloc {role = "output"} : memref<1x4x8xbf16, #plena_tile<space vram>>
  %o = plena_tile.at %out affine_map<() -> (0, 0, 0)>() : memref<1x4x8xbf16, #plena_tile<space vram>> -> !plena_tile.ref<#plena_tile<space vram>>
  plena_tile.row_shift %o, %o by 8 : i64
  func.return
}
