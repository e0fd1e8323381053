// RUN: plena-opt %s -p raise-row-moves --split-input-file | filecheck %s

// A pixel shuffle of 4 x 4 patches by 2: the features of every other patch of every other line, four times.
// CHECK-LABEL: func.func @shuffle
// CHECK:         %[[F:.*]] = plena_tensor.reshape %y : tensor<1x16x8xf32> -> tensor<16x8xf32>
// CHECK-NEXT:    %[[A:.*]] = plena_tensor.slice %[[F]] {dim = 0 : i64, start = 0 : i64, end = 3 : i64, step = 2 : i64}
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.slice %[[F]] {dim = 0 : i64, start = 8 : i64, end = 11 : i64, step = 2 : i64}
// CHECK-NEXT:    %[[FIRST:.*]] = plena_tensor.concat %[[A]], %[[B]] {dim = 0 : i64} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<4x8xf32>
// CHECK:         plena_tensor.concat %[[FIRST]], {{.*}} {dim = 1 : i64} : {{.*}} -> tensor<4x32xf32>
// CHECK-NOT:     plena_tensor.permute
func.func @shuffle(%x : tensor<1x16x8xf32>) -> tensor<1x4x32xf32> {
  %y = plena_tensor.silu %x : tensor<1x16x8xf32> -> tensor<1x16x8xf32>
  %a = plena_tensor.reshape %y : tensor<1x16x8xf32> -> tensor<1x4x2x16xf32>
  %b = plena_tensor.permute %a {perm = array<i64: 0, 2, 1, 3>} : tensor<1x4x2x16xf32> -> tensor<1x2x4x16xf32>
  %c = plena_tensor.reshape %b : tensor<1x2x4x16xf32> -> tensor<1x2x2x32xf32>
  %d = plena_tensor.permute %c {perm = array<i64: 0, 2, 1, 3>} : tensor<1x2x2x32xf32> -> tensor<1x2x2x32xf32>
  %e = plena_tensor.reshape %d : tensor<1x2x2x32xf32> -> tensor<1x4x32xf32>
  %z = plena_tensor.silu %e : tensor<1x4x32xf32> -> tensor<1x4x32xf32>
  func.return %z : tensor<1x4x32xf32>
}

// -----

// Features that leave their rows stay as they are.
// CHECK-LABEL: func.func @transposed
// CHECK:         plena_tensor.permute
// CHECK-NOT:     plena_tensor.slice
func.func @transposed(%x : tensor<4x8xf32>) -> tensor<8x4xf32> {
  %y = plena_tensor.silu %x : tensor<4x8xf32> -> tensor<4x8xf32>
  %t = plena_tensor.permute %y {perm = array<i64: 1, 0>} : tensor<4x8xf32> -> tensor<8x4xf32>
  %z = plena_tensor.silu %t : tensor<8x4xf32> -> tensor<8x4xf32>
  func.return %z : tensor<8x4xf32>
}
