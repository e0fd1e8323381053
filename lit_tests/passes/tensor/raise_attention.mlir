// RUN: plena-opt %s -p raise-attention --split-input-file | filecheck %s

// A boolean causal mask and key heads repeated for the query heads: both are recognised.
// CHECK-LABEL: func.func @grouped
// CHECK-NOT:     plena_tensor.expand
// CHECK:         %[[A:.*]] = plena_tensor.attention %{{.*}}, %{{.*}}, %{{.*}} {heads = 4 : i64, kv_heads = 2 : i64, scale = 2.500000e-01 : f64, mask_kind = "causal"} : (tensor<3x32xf32>, tensor<3x16xf32>, tensor<3x16xf32>) -> tensor<3x32xf32>
// CHECK-NEXT:    %[[H:.*]] = plena_tensor.reshape %[[A]] : tensor<3x32xf32> -> tensor<1x3x4x8xf32>
// CHECK-NEXT:    plena_tensor.permute %[[H]] {perm = array<i64: 0, 2, 1, 3>} : tensor<1x3x4x8xf32> -> tensor<1x4x3x8xf32>
func.func @grouped(%q : tensor<1x4x3x8xf32>, %k : tensor<1x2x3x8xf32>, %v : tensor<1x2x3x8xf32>) -> tensor<1x4x3x8xf32> {
  %mask = plena_tensor.constant dense<[[[[true, false, false], [true, true, false], [true, true, true]]]]> : tensor<1x1x3x3xi1>
  %k0 = plena_tensor.reshape %k : tensor<1x2x3x8xf32> -> tensor<1x2x1x3x8xf32>
  %k1 = plena_tensor.expand %k0 : tensor<1x2x1x3x8xf32> -> tensor<1x2x2x3x8xf32>
  %k2 = plena_tensor.reshape %k1 : tensor<1x2x2x3x8xf32> -> tensor<1x4x3x8xf32>
  %v0 = plena_tensor.reshape %v : tensor<1x2x3x8xf32> -> tensor<1x2x1x3x8xf32>
  %v1 = plena_tensor.expand %v0 : tensor<1x2x1x3x8xf32> -> tensor<1x2x2x3x8xf32>
  %v2 = plena_tensor.reshape %v1 : tensor<1x2x2x3x8xf32> -> tensor<1x4x3x8xf32>
  %y = plena_tensor.sdpa %q, %k2, %v2 mask %mask {scale = 0.25 : f64} : (tensor<1x4x3x8xf32>, tensor<1x4x3x8xf32>, tensor<1x4x3x8xf32>, tensor<1x1x3x3xi1>) -> tensor<1x4x3x8xf32>
  func.return %y : tensor<1x4x3x8xf32>
}

// -----

// Grouped heads by attribute, a float mask of a window of two keys, the default scale 1 / sqrt(4).
// CHECK-LABEL: func.func @sliding
// CHECK:         plena_tensor.attention %{{.*}} {heads = 2 : i64, kv_heads = 1 : i64, scale = 5.000000e-01 : f64, mask_kind = "sliding", window = 2 : i64} : (tensor<3x8xf32>, tensor<3x4xf32>, tensor<3x4xf32>)
func.func @sliding(%q : tensor<1x2x3x4xf32>, %k : tensor<1x1x3x4xf32>, %v : tensor<1x1x3x4xf32>) -> tensor<1x2x3x4xf32> {
  %mask = plena_tensor.constant dense<[[0.0, -3.0e38, -3.0e38], [0.0, 0.0, -3.0e38], [-3.0e38, 0.0, 0.0]]> : tensor<3x3xf32>
  %y = plena_tensor.sdpa %q, %k, %v mask %mask {gqa} : (tensor<1x2x3x4xf32>, tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32>, tensor<3x3xf32>) -> tensor<1x2x3x4xf32>
  func.return %y : tensor<1x2x3x4xf32>
}

// -----

// No mask, a mask that hides nothing, and PyTorch's own causal flag.
// CHECK-LABEL: func.func @unmasked
// CHECK-COUNT-2: plena_tensor.attention %{{.*}} {heads = 2 : i64, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, mask_kind = "none"}
// CHECK:         plena_tensor.attention %{{.*}} {heads = 2 : i64, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, mask_kind = "causal"}
func.func @unmasked(%q : tensor<1x2x3x4xf32>) -> (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) {
  %mask = plena_tensor.constant dense<0.0> : tensor<1x1x3x3xf32>
  %a = plena_tensor.sdpa %q, %q, %q : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32>
  %b = plena_tensor.sdpa %q, %q, %q mask %mask : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x1x3x3xf32>) -> tensor<1x2x3x4xf32>
  %c = plena_tensor.sdpa %q, %q, %q {is_causal} : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32>
  func.return %a, %b, %c : tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>
}

// -----

// A padding mask follows no rule: it is added to the scores, with a finite number that hides.
// CHECK-LABEL: func.func @explicit
// CHECK:         %[[M:.*]] = plena_tensor.where %{{.*}}, %{{.*}}, %{{.*}} : tensor<3x3xi1>, tensor<f32>, tensor<f32> -> tensor<3x3xf32>
// CHECK:         plena_tensor.attention %{{.*}}, %{{.*}}, %{{.*}} mask %[[M]] {heads = 2 : i64, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, mask_kind = "explicit"}
func.func @explicit(%q : tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32> {
  %mask = plena_tensor.constant dense<[[[[false, true, true]]]]> : tensor<1x1x1x3xi1>
  %a = plena_tensor.sdpa %q, %q, %q mask %mask : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x1x1x3xi1>) -> tensor<1x2x3x4xf32>
  func.return %a : tensor<1x2x3x4xf32>
}
