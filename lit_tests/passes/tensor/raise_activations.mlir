// RUN: plena-opt %s -p raise-activations | filecheck %s

// CHECK-LABEL: func.func @gelu
// CHECK:         %[[Y:.*]] = plena_tensor.gelu %x {approximate = "tanh"}
// CHECK-NEXT:    func.return %[[Y]]
func.func @gelu(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %half = plena_tensor.constant dense<0.5> : tensor<f32>
  %one = plena_tensor.constant dense<1.0> : tensor<f32>
  %three = plena_tensor.constant dense<3.0> : tensor<f32>
  %cubic = plena_tensor.constant dense<0.044715> : tensor<f32>
  %root = plena_tensor.constant dense<0.79788456> : tensor<f32>
  %h = plena_tensor.mul %x, %half : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %p = plena_tensor.pow %x, %three : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %c = plena_tensor.mul %p, %cubic : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %s = plena_tensor.add %x, %c : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  %a = plena_tensor.mul %s, %root : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %t = plena_tensor.tanh %a : tensor<5x4xf32> -> tensor<5x4xf32>
  %u = plena_tensor.add %t, %one : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %y = plena_tensor.mul %h, %u : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  func.return %y : tensor<5x4xf32>
}

// CHECK-LABEL: func.func @silu
// CHECK:         %[[Y:.*]] = plena_tensor.silu %x
// CHECK-NEXT:    func.return %[[Y]]
func.func @silu(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %g = plena_tensor.sigmoid %x : tensor<5x4xf32> -> tensor<5x4xf32>
  %y = plena_tensor.mul %g, %x : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  func.return %y : tensor<5x4xf32>
}

// x * sigmoid(2 x) is half of silu(2 x).
// CHECK-LABEL: func.func @steep_silu
// CHECK:         %[[S:.*]] = plena_tensor.silu %{{.*}}
// CHECK:         plena_tensor.constant dense<5.000000e-01>
// CHECK-NEXT:    plena_tensor.mul %[[S]]
func.func @steep_silu(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %two = plena_tensor.constant dense<2.0> : tensor<f32>
  %b = plena_tensor.mul %x, %two : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %g = plena_tensor.sigmoid %b : tensor<5x4xf32> -> tensor<5x4xf32>
  %y = plena_tensor.mul %x, %g : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  func.return %y : tensor<5x4xf32>
}

// CHECK-LABEL: func.func @caps_and_relu
// CHECK:         %[[C:.*]] = plena_tensor.soft_cap %x {cap = 5.000000e+00 : f64}
// CHECK:         %[[R:.*]] = plena_tensor.relu %[[C]]
// CHECK-NEXT:    plena_tensor.soft_cap %[[R]] {cap = 1.000000e+00 : f64}
func.func @caps_and_relu(%x : tensor<5x4xf32>) -> tensor<5x4xf32> {
  %five = plena_tensor.constant dense<5.0> : tensor<f32>
  %zero = plena_tensor.constant dense<0.0> : tensor<f32>
  %d = plena_tensor.div %x, %five : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %t = plena_tensor.tanh %d : tensor<5x4xf32> -> tensor<5x4xf32>
  %c = plena_tensor.mul %t, %five : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %r = plena_tensor.maximum %zero, %c : tensor<f32>, tensor<5x4xf32> -> tensor<5x4xf32>
  %y = plena_tensor.tanh %r : tensor<5x4xf32> -> tensor<5x4xf32>
  func.return %y : tensor<5x4xf32>
}

// Another coefficient, a gate of another value, a cap that does not undo its scale.
// CHECK-LABEL: func.func @others
// CHECK-NOT:     plena_tensor.silu
// CHECK:         plena_tensor.sigmoid
// CHECK:         plena_tensor.soft_cap %{{.*}} {cap = 1.000000e+00 : f64}
// CHECK:         plena_tensor.mul
func.func @others(%x : tensor<5x4xf32>, %z : tensor<5x4xf32>) -> (tensor<5x4xf32>, tensor<5x4xf32>) {
  %five = plena_tensor.constant dense<5.0> : tensor<f32>
  %four = plena_tensor.constant dense<4.0> : tensor<f32>
  %g = plena_tensor.sigmoid %z : tensor<5x4xf32> -> tensor<5x4xf32>
  %y = plena_tensor.mul %x, %g : tensor<5x4xf32>, tensor<5x4xf32> -> tensor<5x4xf32>
  %d = plena_tensor.div %x, %five : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  %t = plena_tensor.tanh %d : tensor<5x4xf32> -> tensor<5x4xf32>
  %c = plena_tensor.mul %t, %four : tensor<5x4xf32>, tensor<f32> -> tensor<5x4xf32>
  func.return %y, %c : tensor<5x4xf32>, tensor<5x4xf32>
}
