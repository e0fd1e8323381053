// RUN: plena-opt %s -p fold-lookups | filecheck %s

// Positions that count up, then a repeated one, then one by itself.
// CHECK-LABEL: func.func @known
// CHECK:         %[[A:.*]] = plena_tensor.slice %t {dim = 0 : i64, start = 2 : i64, end = 5 : i64, step = 1 : i64} : tensor<9x4xf32> -> tensor<3x4xf32>
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.slice %t {dim = 0 : i64, start = 1 : i64, end = 2 : i64, step = 1 : i64} : tensor<9x4xf32> -> tensor<1x4xf32>
// CHECK-NEXT:    %[[C:.*]] = plena_tensor.expand %[[B]] : tensor<1x4xf32> -> tensor<2x4xf32>
// CHECK-NEXT:    %[[D:.*]] = plena_tensor.slice %t {dim = 0 : i64, start = 8 : i64, end = 9 : i64, step = 1 : i64} : tensor<9x4xf32> -> tensor<1x4xf32>
// CHECK-NEXT:    %[[J:.*]] = plena_tensor.concat %[[A]], %[[C]], %[[D]] {dim = 0 : i64}
// CHECK-NEXT:    plena_tensor.reshape %[[J]] : tensor<6x4xf32> -> tensor<1x6x4xf32>
// CHECK-NOT:     plena_tensor.embedding
func.func @known() -> tensor<1x6x4xf32> {
  %t = plena_tensor.parameter "t" : tensor<9x4xf32>
  %ids = plena_tensor.constant dense<[[2, 3, 4, 1, 1, 8]]> : tensor<1x6xi64>
  %y = plena_tensor.embedding %t, %ids : tensor<9x4xf32>, tensor<1x6xi64> -> tensor<1x6x4xf32>
  func.return %y : tensor<1x6x4xf32>
}

// CHECK-LABEL: func.func @unknown
// CHECK:         plena_tensor.embedding %t, %ids
func.func @unknown(%ids : tensor<6xi64>) -> tensor<6x4xf32> {
  %t = plena_tensor.parameter "t" : tensor<9x4xf32>
  %y = plena_tensor.embedding %t, %ids : tensor<9x4xf32>, tensor<6xi64> -> tensor<6x4xf32>
  func.return %y : tensor<6x4xf32>
}
