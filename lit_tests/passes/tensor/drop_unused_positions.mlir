// RUN: plena-opt %s -p drop-unused-positions | filecheck %s

// The slice moves up through lm_head and the final norm, and stops at the residual sum.
// CHECK-LABEL: func.func @main(%x: tensor<4x8xf32>) -> tensor<1x16xf32> {
// CHECK-NEXT:    %w = plena_tensor.parameter
// CHECK-NEXT:    %a = plena_tensor.add %x, %x
// CHECK-NEXT:    %[[S:.*]] = plena_tensor.slice %a {dim = 0 : i64, start = 3 : i64, end = 4 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<1x8xf32>
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %[[S]] {eps = 1.000000e+00 : f64} : (tensor<1x8xf32>) -> tensor<1x8xf32>
// CHECK-NEXT:    %[[L:.*]] = plena_tensor.linear %[[N]], %w : (tensor<1x8xf32>, tensor<16x8xf32>) -> tensor<1x16xf32>
// CHECK-NEXT:    func.return %[[L]] : tensor<1x16xf32>
func.func @main(%x : tensor<4x8xf32>) -> tensor<4x16xf32> {
  %w = plena_tensor.parameter "w" : tensor<16x8xf32>
  %a = plena_tensor.add %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  %n = plena_tensor.rms_norm %a {eps = 1.0 : f64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %l = plena_tensor.linear %n, %w : (tensor<4x8xf32>, tensor<16x8xf32>) -> tensor<4x16xf32>
  func.return %l : tensor<4x16xf32>
}

// Through a cap and a norm of single heads, which stays one; a batch of one counts as its rows.
// CHECK-LABEL: func.func @heads
// CHECK:         %[[S:.*]] = plena_tensor.slice {{.*}} {dim = 0 : i64, start = 3 : i64, end = 4 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<1x8xf32>
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %[[S]] {eps = 1.000000e+00 : f64, groups = 2 : i64} : (tensor<1x8xf32>) -> tensor<1x8xf32>
// CHECK-NEXT:    plena_tensor.soft_cap %[[N]] {cap = 2.000000e+00 : f64} : tensor<1x8xf32> -> tensor<1x8xf32>
func.func @heads(%x : tensor<1x4x8xf32>) -> tensor<4x8xf32> {
  %r = plena_tensor.reshape %x : tensor<1x4x8xf32> -> tensor<4x8xf32>
  %n = plena_tensor.rms_norm %r {eps = 1.0 : f64, groups = 2 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %c = plena_tensor.soft_cap %n {cap = 2.0 : f64} : tensor<4x8xf32> -> tensor<4x8xf32>
  func.return %c : tensor<4x8xf32>
}
