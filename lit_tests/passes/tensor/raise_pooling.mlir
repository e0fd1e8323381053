// RUN: plena-opt %s -p raise-pooling | filecheck %s

// CHECK-LABEL: func.func @mean
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %x : tensor<2x4x8xf32> -> tensor<8x8xf32>
// CHECK-NEXT:    %[[S:.*]] = plena_tensor.sum_rows %[[R]] {sequences = 2 : i64} : tensor<8x8xf32> -> tensor<2x8xf32>
// CHECK-NEXT:    %[[Q:.*]] = plena_tensor.constant dense<2.500000e-01>
// CHECK-NEXT:    %[[M:.*]] = plena_tensor.mul %[[S]], %[[Q]]
// CHECK-NEXT:    %[[Y:.*]] = plena_tensor.reshape %[[M]] : tensor<2x8xf32> -> tensor<2x8xf32>
// CHECK-NEXT:    func.return %[[Y]]
func.func @mean(%x : tensor<2x4x8xf32>) -> tensor<2x8xf32> {
  %y = plena_tensor.mean %x {dims = array<i64: 1>} : tensor<2x4x8xf32> -> tensor<2x8xf32>
  func.return %y : tensor<2x8xf32>
}

// A sum over the features is none over rows.
// CHECK-LABEL: func.func @features
// CHECK-NEXT:    plena_tensor.sum %x
func.func @features(%x : tensor<2x4x8xf32>) -> tensor<2x4xf32> {
  %y = plena_tensor.sum %x {dims = array<i64: 2>} : tensor<2x4x8xf32> -> tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}
