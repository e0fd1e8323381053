// RUN: plena-opt %s -p drop-unit-factors | filecheck %s

// A factor of one goes, unless it makes the result larger.
// CHECK-LABEL: func.func @factor_one
// CHECK:         %[[Y:.*]] = plena_tensor.mul %row, %ones : tensor<4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
// CHECK-NEXT:    func.return %x, %[[Y]]
func.func @factor_one(%x : tensor<5x4xf32>, %row : tensor<4xf32>) -> (tensor<5x4xf32>, tensor<5x4xf32>) {
  %one = plena_tensor.constant dense<1.0> : tensor<f32>
  %ones = plena_tensor.constant dense<1.0> : tensor<5x4xf32>
  %a = plena_tensor.mul %ones, %x : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  %b = plena_tensor.div %a, %one : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %y = plena_tensor.mul %row, %ones : tensor<4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  func.return %b, %y : tensor<5x4xf32>, tensor<5x4xf32>
}
