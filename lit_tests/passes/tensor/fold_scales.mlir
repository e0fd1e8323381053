// RUN: plena-opt %s -p fold-scales | filecheck %s

// A factor goes into the table of an embedding, and into the weight and bias of a linear layer.
// CHECK-LABEL: func.func @main
// CHECK:         %[[T:.*]] = plena_tensor.mul %t, %c
// CHECK-NEXT:    %[[E:.*]] = plena_tensor.embedding %[[T]], %ids
// CHECK:         %[[W:.*]] = plena_tensor.mul %w, %c
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.mul %b, %c
// CHECK-NEXT:    %[[L:.*]] = plena_tensor.linear %[[E]], %[[W]], %[[B]]
// CHECK-NEXT:    func.return %[[L]]
func.func @main(%ids : tensor<4xi64>) -> tensor<4x8xf32> {
  %c = plena_tensor.constant dense<3.0> : tensor<f32>
  %t = plena_tensor.parameter "t" : tensor<16x8xf32>
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %b = plena_tensor.parameter "b" : tensor<8xf32>
  %e = plena_tensor.embedding %t, %ids : tensor<16x8xf32>, tensor<4xi64> -> tensor<4x8xf32>
  %s = plena_tensor.mul %e, %c : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %l = plena_tensor.linear %s, %w, %b : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %y = plena_tensor.mul %l, %c : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  func.return %y : tensor<4x8xf32>
}
