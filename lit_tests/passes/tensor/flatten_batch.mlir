// RUN: plena-opt %s -p flatten-batch --split-input-file --verify-diagnostics | filecheck %s

// CHECK-LABEL: func.func @mlp
// CHECK-NEXT:    %table = plena_tensor.parameter
// CHECK-NEXT:    %[[E:.*]] = plena_tensor.embedding %table, %ids : tensor<16x8xf32>, tensor<4xi64> -> tensor<4x8xf32>
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %[[E]] {eps = 1.000000e+00 : f64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT:    %w = plena_tensor.parameter
// CHECK-NEXT:    %[[L:.*]] = plena_tensor.linear %[[N]], %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT:    %[[S:.*]] = plena_tensor.silu %[[L]] : tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    %[[G:.*]] = plena_tensor.gelu %[[S]] {approximate = "tanh"} : tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    %[[A:.*]] = plena_tensor.add %[[E]], %[[G]] : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    func.return %[[A]] : tensor<4x8xf32>
func.func @mlp(%ids : tensor<4xi64>) -> tensor<4x8xf32> {
  %table = plena_tensor.parameter "embed" : tensor<16x8xf32>
  %i = plena_tensor.reshape %ids : tensor<4xi64> -> tensor<1x4xi64>
  %x = plena_tensor.embedding %table, %i : tensor<16x8xf32>, tensor<1x4xi64> -> tensor<1x4x8xf32>
  %n = plena_tensor.rms_norm %x {eps = 1.0 : f64} : (tensor<1x4x8xf32>) -> tensor<1x4x8xf32>
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %l = plena_tensor.linear %n, %w : (tensor<1x4x8xf32>, tensor<8x8xf32>) -> tensor<1x4x8xf32>
  %s = plena_tensor.silu %l : tensor<1x4x8xf32> -> tensor<1x4x8xf32>
  %g = plena_tensor.gelu %s {approximate = "tanh"} : tensor<1x4x8xf32> -> tensor<1x4x8xf32>
  %a = plena_tensor.add %x, %g : tensor<1x4x8xf32>, tensor<1x4x8xf32> -> tensor<1x4x8xf32>
  %y = plena_tensor.reshape %a : tensor<1x4x8xf32> -> tensor<4x8xf32>
  func.return %y : tensor<4x8xf32>
}

// -----

// Two sequences of four rows: positions that both share are repeated, and the first row of each is taken at once.
// CHECK-LABEL: func.func @batch
// CHECK-NEXT:    %p = plena_tensor.parameter "positions" : tensor<1x4x8xf32>
// CHECK-NEXT:    %[[E:.*]] = plena_tensor.expand %p : tensor<1x4x8xf32> -> tensor<2x4x8xf32>
// CHECK-NEXT:    %[[P:.*]] = plena_tensor.reshape %[[E]] : tensor<2x4x8xf32> -> tensor<8x8xf32>
// CHECK-NEXT:    %[[A:.*]] = plena_tensor.add %x, %[[P]] : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
// CHECK-NEXT:    %[[F:.*]] = plena_tensor.slice %[[A]] {dim = 0 : i64, start = 0 : i64, end = 5 : i64, step = 4 : i64}
// CHECK-NEXT:    func.return %[[F]] : tensor<2x8xf32>
func.func @batch(%x : tensor<8x8xf32>) -> tensor<2x8xf32> {
  %y = plena_tensor.reshape %x : tensor<8x8xf32> -> tensor<2x4x8xf32>
  %p = plena_tensor.parameter "positions" : tensor<1x4x8xf32>
  %a = plena_tensor.add %y, %p : tensor<2x4x8xf32>, tensor<1x4x8xf32> -> tensor<2x4x8xf32>
  %f = plena_tensor.slice %a {dim = 1 : i64, start = 0 : i64, end = 1 : i64, step = 1 : i64} : tensor<2x4x8xf32> -> tensor<2x1x8xf32>
  %r = plena_tensor.reshape %f : tensor<2x1x8xf32> -> tensor<2x8xf32>
  func.return %r : tensor<2x8xf32>
}

// -----

// CHECK: model.layers.0: plena_tensor.silu computes an activation of shape (2, 3, 4, 8), not [rows, features]
func.func @heads(%x : tensor<2x3x4x8xf32>) -> tensor<2x3x4x8xf32> {
  %y = plena_tensor.silu %x : tensor<2x3x4x8xf32> -> tensor<2x3x4x8xf32> loc("model.layers.0")
  func.return %y : tensor<2x3x4x8xf32>
}
