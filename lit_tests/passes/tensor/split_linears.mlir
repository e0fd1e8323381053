// RUN: plena-opt %s -p split-linears --split-input-file | filecheck %s

// Two features of every head of three: rows 1 and 2 of each head of the weight.
// CHECK-LABEL: func.func @main
// CHECK:         %[[A:.*]] = plena_tensor.reshape %w : tensor<6x4xf32> -> tensor<2x3x4xf32>
// CHECK-NEXT:    %[[P:.*]] = plena_tensor.slice %[[A]] {dim = 1 : i64, start = 1 : i64, end = 3 : i64, step = 1 : i64}
// CHECK-NEXT:    %[[W:.*]] = plena_tensor.reshape %[[P]] : tensor<2x2x4xf32> -> tensor<4x4xf32>
// CHECK-NEXT:    %[[L:.*]] = plena_tensor.linear %x, %[[W]]
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %[[L]] : tensor<1x5x4xf32> -> tensor<1x5x2x2xf32>
// CHECK-NEXT:    plena_tensor.permute %[[R]]
func.func @main(%x : tensor<1x5x4xf32>) -> tensor<1x2x5x2xf32> {
  %w = plena_tensor.parameter "w" : tensor<6x4xf32>
  %l = plena_tensor.linear %x, %w : (tensor<1x5x4xf32>, tensor<6x4xf32>) -> tensor<1x5x6xf32>
  %h = plena_tensor.reshape %l : tensor<1x5x6xf32> -> tensor<1x5x2x3xf32>
  %p = plena_tensor.permute %h {perm = array<i64: 0, 2, 1, 3>} : tensor<1x5x2x3xf32> -> tensor<1x2x5x3xf32>
  %s = plena_tensor.slice %p {dim = 3 : i64, start = 1 : i64, end = 3 : i64, step = 1 : i64} : tensor<1x2x5x3xf32> -> tensor<1x2x5x2xf32>
  func.return %s : tensor<1x2x5x2xf32>
}

// -----

// Every other feature of an expert layer: every other row of each expert's matrix and bias.
// CHECK-LABEL: func.func @experts
// CHECK:         %[[W:.*]] = plena_tensor.slice %w {dim = 1 : i64, start = 1 : i64, end = 6 : i64, step = 2 : i64} : tensor<8x6x4xf32> -> tensor<8x3x4xf32>
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.slice %b {dim = 1 : i64, start = 1 : i64, end = 6 : i64, step = 2 : i64} : tensor<8x6xf32> -> tensor<8x3xf32>
// CHECK-NEXT:    plena_tensor.expert_linear %x, %[[W]], %ids, %[[B]]
func.func @experts(%x : tensor<5x4xf32>, %ids : tensor<5x2xi64>) -> tensor<10x3xf32> {
  %w = plena_tensor.parameter "w" : tensor<8x6x4xf32>
  %b = plena_tensor.parameter "b" : tensor<8x6xf32>
  %l = plena_tensor.expert_linear %x, %w, %ids, %b : (tensor<5x4xf32>, tensor<8x6x4xf32>, tensor<5x2xi64>, tensor<8x6xf32>) -> tensor<10x6xf32>
  %s = plena_tensor.slice %l {dim = 1 : i64, start = 1 : i64, end = 6 : i64, step = 2 : i64} : tensor<10x6xf32> -> tensor<10x3xf32>
  func.return %s : tensor<10x3xf32>
}
