// RUN: plena-opt %s -p simplify-arithmetic | filecheck %s

// CHECK-LABEL: func.func @products
// CHECK:         %[[I:.*]] = plena_tensor.constant dense<2.500000e-01> : tensor<f32>
// CHECK-NEXT:    %[[D:.*]] = plena_tensor.mul %x, %[[I]]
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reciprocal %w
// CHECK-NEXT:    %[[E:.*]] = plena_tensor.mul %[[D]], %[[R]]
// CHECK:         %[[N:.*]] = plena_tensor.constant dense<-1.000000e+00> : tensor<f32>
// CHECK-NEXT:    %[[M:.*]] = plena_tensor.mul %[[E]], %[[N]]
// CHECK:         %[[S:.*]] = plena_tensor.mul %[[M]], %[[M]]
// CHECK-NEXT:    plena_tensor.mul %[[S]], %[[M]]
func.func @products(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %w = plena_tensor.parameter "w" : tensor<4xf32>
  %four = plena_tensor.constant dense<4.0> : tensor<f32>
  %three = plena_tensor.constant dense<3.0> : tensor<f32>
  %d = plena_tensor.div %x, %four : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %e = plena_tensor.div %d, %w : tensor<5x4xf32>, tensor<4xf32> -> tensor<5x4xf32>
  %n = plena_tensor.neg %e : tensor<5x4xf32> -> tensor<5x4xf32>
  %y = plena_tensor.pow %n, %three : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  func.return %y : tensor<5x4xf32>
}

// A weight minus an activation, an activation minus a weight; the difference of two activations stays.
// CHECK-LABEL: func.func @differences
// CHECK:         %[[A:.*]] = plena_tensor.mul %x, %{{.*}}
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.add %[[A]], %w
// CHECK:         %[[C:.*]] = plena_tensor.mul %w, %{{.*}}
// CHECK-NEXT:    %[[D:.*]] = plena_tensor.add %[[B]], %[[C]]
// CHECK-NEXT:    plena_tensor.sub %[[D]], %x
func.func @differences(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %w = plena_tensor.parameter "w" : tensor<4xf32>
  %a = plena_tensor.sub %w, %x : tensor<4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  %b = plena_tensor.sub %a, %w : tensor<5x4xf32>, tensor<4xf32> -> tensor<5x4xf32>
  %c = plena_tensor.sub %b, %x : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  func.return %c : tensor<5x4xf32>
}

// Weight operands become a number, a row, or a row for each position.
// CHECK-LABEL: func.func @shapes
// CHECK:         %[[R:.*]] = plena_tensor.reshape %row : tensor<1x4xf32> -> tensor<4xf32>
// CHECK-NEXT:    %[[A:.*]] = plena_tensor.add %x, %[[R]] : tensor<5x4xf32>, tensor<4xf32>
// CHECK-NEXT:    %[[C:.*]] = plena_tensor.expand %column : tensor<5x1xf32> -> tensor<5x4xf32>
// CHECK-NEXT:    %[[M:.*]] = plena_tensor.mul %[[A]], %[[C]]
// CHECK:         plena_tensor.mul %[[M]], %{{.*}} : tensor<5x4xf32>, tensor<f32>
func.func @shapes(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %row = plena_tensor.parameter "row" : tensor<1x4xf32>
  %column = plena_tensor.parameter "column" : tensor<5x1xf32>
  %number = plena_tensor.constant dense<3.0> : tensor<1x1xf32>
  %a = plena_tensor.add %x, %row : tensor<5x4xf32>, tensor<1x4xf32> -> tensor<5x4xf32>
  %m = plena_tensor.mul %a, %column : tensor<5x4xf32>, tensor<5x1xf32> -> tensor<5x4xf32>
  %y = plena_tensor.mul %m, %number : tensor<5x4xf32>, tensor<1x1xf32> -> tensor<5x4xf32>
  func.return %y : tensor<5x4xf32>
}
