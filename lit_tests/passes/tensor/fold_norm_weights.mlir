// RUN: plena-opt %s -p fold-norm-weights | filecheck %s

// All users are linear layers: each weight takes the gain.
// CHECK-LABEL: func.func @folded
// CHECK:         %[[N:.*]] = plena_tensor.rms_norm %x {eps = 1.000000e+00 : f64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
// CHECK:         %[[U:.*]] = plena_tensor.mul %u, %g : tensor<6x8xf32>, tensor<8xf32> -> tensor<6x8xf32>
// CHECK-NEXT:    plena_tensor.linear %[[N]], %[[U]] : (tensor<4x8xf32>, tensor<6x8xf32>) -> tensor<4x6xf32>
// CHECK-NEXT:    %[[V:.*]] = plena_tensor.mul %v, %g : tensor<6x8xf32>, tensor<8xf32> -> tensor<6x8xf32>
// CHECK-NEXT:    plena_tensor.linear %[[N]], %[[V]], %b : (tensor<4x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x6xf32>
func.func @folded(%x : tensor<4x8xf32>) -> (tensor<4x6xf32>, tensor<4x6xf32>) {
  %g = plena_tensor.parameter "g" : tensor<8xf32>
  %n = plena_tensor.rms_norm %x, %g {eps = 1.0 : f64} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %u = plena_tensor.parameter "u" : tensor<6x8xf32>
  %v = plena_tensor.parameter "v" : tensor<6x8xf32>
  %b = plena_tensor.parameter "b" : tensor<6xf32>
  %y = plena_tensor.linear %n, %u : (tensor<4x8xf32>, tensor<6x8xf32>) -> tensor<4x6xf32>
  %z = plena_tensor.linear %n, %v, %b : (tensor<4x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  func.return %y, %z : tensor<4x6xf32>, tensor<4x6xf32>
}

// One user is not a linear layer, so the norm keeps its gain and all weights stay.
// CHECK-LABEL: func.func @kept
// CHECK:         plena_tensor.rms_norm %x, %g
// CHECK-NOT:     plena_tensor.mul
// CHECK:         func.return
func.func @kept(%x : tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x6xf32>) {
  %g = plena_tensor.parameter "g" : tensor<8xf32>
  %n = plena_tensor.rms_norm %x, %g {eps = 1.0 : f64} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %u = plena_tensor.parameter "u" : tensor<6x8xf32>
  %y = plena_tensor.linear %n, %u : (tensor<4x8xf32>, tensor<6x8xf32>) -> tensor<4x6xf32>
  func.return %n, %y : tensor<4x8xf32>, tensor<4x6xf32>
}

// The shift of a layer norm goes through the weight into the bias.
// CHECK-LABEL: func.func @layer_norm
// CHECK:         %[[N:.*]] = plena_tensor.layer_norm %x {eps = 1.000000e+00 : f64} : tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK:         %[[C:.*]] = plena_tensor.reshape %s : tensor<8xf32> -> tensor<8x1xf32>
// CHECK-NEXT:    %[[P:.*]] = plena_tensor.matmul %u, %[[C]] : tensor<6x8xf32>, tensor<8x1xf32> -> tensor<6x1xf32>
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %[[P]] : tensor<6x1xf32> -> tensor<6xf32>
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.add %b, %[[R]]
// CHECK-NEXT:    %[[W:.*]] = plena_tensor.mul %u, %g
// CHECK-NEXT:    plena_tensor.linear %[[N]], %[[W]], %[[B]]
func.func @layer_norm(%x : tensor<4x8xf32>) -> tensor<4x6xf32> {
  %g = plena_tensor.parameter "g" : tensor<8xf32>
  %s = plena_tensor.parameter "s" : tensor<8xf32>
  %n = plena_tensor.layer_norm %x gain(%g : tensor<8xf32>) bias(%s : tensor<8xf32>) {eps = 1.0 : f64} : tensor<4x8xf32> -> tensor<4x8xf32>
  %u = plena_tensor.parameter "u" : tensor<6x8xf32>
  %b = plena_tensor.parameter "b" : tensor<6xf32>
  %y = plena_tensor.linear %n, %u, %b : (tensor<4x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  func.return %y : tensor<4x6xf32>
}
