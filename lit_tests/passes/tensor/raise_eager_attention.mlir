// RUN: plena-opt %s -p raise-eager-attention | filecheck %s

// Gemma 2: scale, soft cap, mask, softmax.
// CHECK-LABEL: func.func @capped
// CHECK:         %[[K:.*]] = plena_tensor.permute %k {perm = array<i64: 0, 1, 3, 2>} : tensor<1x2x4x5xf32> -> tensor<1x2x5x4xf32>
// CHECK-NEXT:    plena_tensor.sdpa %q, %[[K]], %v mask %mask {{.*}}scale = 5.000000e-01 : f64{{.*}}soft_cap = 3.000000e+01 : f64
// CHECK-NOT:     plena_tensor.matmul %p
func.func @capped(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %mask = plena_tensor.parameter "mask" : tensor<1x1x5x5xf32>
  %two = plena_tensor.constant dense<2.0> : tensor<f32>
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %d = plena_tensor.div %s, %two : tensor<1x2x5x5xf32>, tensor<f32> -> tensor<1x2x5x5xf32>
  %c = plena_tensor.soft_cap %d {cap = 30.0 : f64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %m = plena_tensor.add %c, %mask : tensor<1x2x5x5xf32>, tensor<1x1x5x5xf32> -> tensor<1x2x5x5xf32>
  %p = plena_tensor.softmax %m {dim = -1 : i64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %p, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}

// A softmax over the queries is no attention.
// CHECK-LABEL: func.func @other_dimension
// CHECK-NOT:     plena_tensor.sdpa
// CHECK:         func.return
func.func @other_dimension(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %p = plena_tensor.softmax %s {dim = 2 : i64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %p, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}
