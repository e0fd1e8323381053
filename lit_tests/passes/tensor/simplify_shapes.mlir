// RUN: plena-opt %s -p simplify-shapes | filecheck %s

// Rearrangements that undo each other leave their operand.
// CHECK-LABEL: func.func @undone
// CHECK-NEXT:    func.return %x : tensor<1x4x8xf32>
func.func @undone(%x : tensor<1x4x8xf32>) -> tensor<1x4x8xf32> {
  %a = plena_tensor.reshape %x : tensor<1x4x8xf32> -> tensor<1x4x2x4xf32>
  %b = plena_tensor.permute %a {perm = array<i64: 0, 2, 1, 3>} : tensor<1x4x2x4xf32> -> tensor<1x2x4x4xf32>
  %c = plena_tensor.permute %b {perm = array<i64: 0, 2, 1, 3>} : tensor<1x2x4x4xf32> -> tensor<1x4x2x4xf32>
  %d = plena_tensor.reshape %c : tensor<1x4x2x4xf32> -> tensor<4x8xf32>
  %e = plena_tensor.reshape %d : tensor<4x8xf32> -> tensor<1x4x8xf32>
  func.return %e : tensor<1x4x8xf32>
}

// Chains merge; the order of permutations is kept.
// CHECK-LABEL: func.func @merged
// CHECK-NEXT:    %[[P:.*]] = plena_tensor.permute %x {perm = array<i64: 2, 0, 1>} : tensor<2x3x4xf32> -> tensor<4x2x3xf32>
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %[[P]] : tensor<4x2x3xf32> -> tensor<8x3xf32>
// CHECK-NEXT:    func.return %[[R]] : tensor<8x3xf32>
func.func @merged(%x : tensor<2x3x4xf32>) -> tensor<8x3xf32> {
  %a = plena_tensor.permute %x {perm = array<i64: 1, 2, 0>} : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %b = plena_tensor.permute %a {perm = array<i64: 1, 2, 0>} : tensor<3x4x2xf32> -> tensor<4x2x3xf32>
  %c = plena_tensor.reshape %b : tensor<4x2x3xf32> -> tensor<24xf32>
  %d = plena_tensor.reshape %c : tensor<24xf32> -> tensor<8x3xf32>
  func.return %d : tensor<8x3xf32>
}

// With one row, swapping rows and heads moves nothing.
// CHECK-LABEL: func.func @one_row
// CHECK-NEXT:    func.return %x : tensor<1x8xf32>
func.func @one_row(%x : tensor<1x8xf32>) -> tensor<1x8xf32> {
  %a = plena_tensor.reshape %x : tensor<1x8xf32> -> tensor<1x1x2x4xf32>
  %b = plena_tensor.permute %a {perm = array<i64: 0, 2, 1, 3>} : tensor<1x1x2x4xf32> -> tensor<1x2x1x4xf32>
  %c = plena_tensor.reshape %b : tensor<1x2x1x4xf32> -> tensor<1x8xf32>
  func.return %c : tensor<1x8xf32>
}

// Expansions, casts and slices to the operand's own type go; others stay.
// CHECK-LABEL: func.func @identities
// CHECK-NEXT:    %[[S:.*]] = plena_tensor.slice %x {dim = 0 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64}
// CHECK-NEXT:    func.return %[[S]]
func.func @identities(%x : tensor<4x8xf32>) -> tensor<2x8xf32> {
  %a = plena_tensor.expand %x : tensor<4x8xf32> -> tensor<4x8xf32>
  %b = plena_tensor.cast %a : tensor<4x8xf32> -> tensor<4x8xf32>
  %c = plena_tensor.slice %b {dim = 1 : i64, start = 0 : i64, end = 8 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<4x8xf32>
  %d = plena_tensor.slice %c {dim = 0 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<2x8xf32>
  func.return %d : tensor<2x8xf32>
}
