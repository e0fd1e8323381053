// RUN: plena-opt %s -p drop-unused-positions --verify-diagnostics | filecheck %s

// The last row of a result is that of the last position only where each position has one.
// CHECK: a result of 6 rows is not one row for each position of an input (4)
// CHECK-SAME: keep the rows of all positions (--logits all)
func.func @main(%x : tensor<4x8xf32>) -> tensor<6x8xf32> {
  %s = plena_tensor.slice %x {dim = 0 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<2x8xf32>
  %c = plena_tensor.concat %x, %s {dim = 0 : i64} : (tensor<4x8xf32>, tensor<2x8xf32>) -> tensor<6x8xf32>
  func.return %c : tensor<6x8xf32>
}
