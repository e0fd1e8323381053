// RUN: plena-opt %s -p fold-attention-scale | filecheck %s

// Through rope into the weight and the bias of the query projection.
// CHECK-LABEL: func.func @rope
// CHECK:         %[[S:.*]] = plena_tensor.constant dense<2.500000e-01> : tensor<f32>
// CHECK-NEXT:    %[[W:.*]] = plena_tensor.mul %w, %[[S]] : tensor<8x8xf32>, tensor<f32> -> tensor<8x8xf32>
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.mul %b, %[[S]] : tensor<8xf32>, tensor<f32> -> tensor<8xf32>
// CHECK-NEXT:    %[[Q:.*]] = plena_tensor.linear %x, %[[W]], %[[B]]
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.rope %[[Q]], %c, %s
// CHECK-NEXT:    plena_tensor.attention %[[R]], %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 1.000000e+00 : f64, mask_kind = "sliding", window = 3 : i64}
func.func @rope(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %b = plena_tensor.parameter "b" : tensor<8xf32>
  %c = plena_tensor.parameter "c" : tensor<4x4xf32>
  %s = plena_tensor.parameter "s" : tensor<4x4xf32>
  %q = plena_tensor.linear %x, %w, %b : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %r = plena_tensor.rope %q, %c, %s {heads = 2 : i64} : (tensor<4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x8xf32>
  %a = plena_tensor.attention %r, %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.25 : f64, mask_kind = "sliding", window = 3 : i64} : (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %a : tensor<4x8xf32>
}

// The query has another user, or comes from no linear layer: it is multiplied.
// CHECK-LABEL: func.func @kept
// CHECK:         %[[Q:.*]] = plena_tensor.mul %q, %{{.*}}
// CHECK-NEXT:    plena_tensor.attention %[[Q]], %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 1.000000e+00 : f64, mask_kind = "none"}
// CHECK:         %[[X:.*]] = plena_tensor.mul %x, %{{.*}}
// CHECK-NEXT:    plena_tensor.attention %[[X]], %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 1.000000e+00 : f64, mask_kind = "none"}
func.func @kept(%x : tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %q = plena_tensor.linear %x, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %a = plena_tensor.attention %q, %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.25 : f64, mask_kind = "none"} : (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %b = plena_tensor.attention %x, %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.25 : f64, mask_kind = "none"} : (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %q, %a, %b : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}
