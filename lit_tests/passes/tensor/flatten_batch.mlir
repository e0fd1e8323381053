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

// CHECK: model.layers.0: plena_tensor.silu computes an activation of shape (2, 4, 8), not [rows, features]
func.func @batch(%x : tensor<2x4x8xf32>) -> tensor<2x4x8xf32> {
  %y = plena_tensor.silu %x : tensor<2x4x8xf32> -> tensor<2x4x8xf32> loc("model.layers.0")
  func.return %y : tensor<2x4x8xf32>
}
