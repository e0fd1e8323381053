// RUN: plena-opt %s -p raise-head-norms | filecheck %s

// Heads in front of rows, as Qwen3 splits them.
// CHECK-LABEL: func.func @heads_first
// CHECK:         %[[R:.*]] = plena_tensor.reshape %{{.*}} : tensor<1x5x2x4xf32> -> tensor<5x8xf32>
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %[[R]], %g {eps = 1.000000e-06 : f64, groups = 2 : i64} : (tensor<5x8xf32>, tensor<4xf32>) -> tensor<5x8xf32>
// CHECK-NEXT:    %[[H:.*]] = plena_tensor.reshape %[[N]] : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
// CHECK-NEXT:    plena_tensor.permute %[[H]] {perm = array<i64: 0, 2, 1, 3>}
func.func @heads_first(%x : tensor<5x8xf32>) -> tensor<1x2x5x4xf32> {
  %g = plena_tensor.parameter "g" : tensor<4xf32>
  %s = plena_tensor.reshape %x : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
  %h = plena_tensor.permute %s {perm = array<i64: 0, 2, 1, 3>} : tensor<1x5x2x4xf32> -> tensor<1x2x5x4xf32>
  %n = plena_tensor.rms_norm %h, %g {eps = 1.0e-6 : f64} : (tensor<1x2x5x4xf32>, tensor<4xf32>) -> tensor<1x2x5x4xf32>
  func.return %n : tensor<1x2x5x4xf32>
}

// Rows in front of heads, of which the fused projection holds queries, keys and values (Persimmon).
// CHECK-LABEL: func.func @fused
// CHECK:         %[[P:.*]] = plena_tensor.reshape %{{.*}} : tensor<1x5x2x1x4xf32> -> tensor<1x5x2x4xf32>
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %[[P]] : tensor<1x5x2x4xf32> -> tensor<5x8xf32>
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.layer_norm %[[R]] gain(%g : tensor<4xf32>) bias(%b : tensor<4xf32>) {eps = 1.000000e-05 : f64, groups = 2 : i64}
// CHECK-NEXT:    plena_tensor.reshape %[[N]] : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
func.func @fused(%x : tensor<5x24xf32>) -> tensor<1x5x2x4xf32> {
  %g = plena_tensor.parameter "g" : tensor<4xf32>
  %b = plena_tensor.parameter "b" : tensor<4xf32>
  %s = plena_tensor.reshape %x : tensor<5x24xf32> -> tensor<1x5x2x3x4xf32>
  %q = plena_tensor.slice %s {dim = 3 : i64, start = 0 : i64, end = 1 : i64, step = 1 : i64} : tensor<1x5x2x3x4xf32> -> tensor<1x5x2x1x4xf32>
  %p = plena_tensor.reshape %q : tensor<1x5x2x1x4xf32> -> tensor<1x5x2x4xf32>
  %n = plena_tensor.layer_norm %p gain(%g : tensor<4xf32>) bias(%b : tensor<4xf32>) {eps = 1.0e-5 : f64} : tensor<1x5x2x4xf32> -> tensor<1x5x2x4xf32>
  func.return %n : tensor<1x5x2x4xf32>
}

// The layout is known through a rotary embedding too (HunYuan).
// CHECK-LABEL: func.func @after_rope
// CHECK:         plena_tensor.rms_norm %{{.*}} {eps = 1.000000e-06 : f64, groups = 2 : i64} : (tensor<5x8xf32>) -> tensor<5x8xf32>
func.func @after_rope(%x : tensor<5x8xf32>) -> tensor<1x2x5x4xf32> {
  %cos = plena_tensor.parameter "cos" : tensor<1x1x5x4xf32>
  %s = plena_tensor.reshape %x : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
  %h = plena_tensor.permute %s {perm = array<i64: 0, 2, 1, 3>} : tensor<1x5x2x4xf32> -> tensor<1x2x5x4xf32>
  %c = plena_tensor.mul %cos, %h : tensor<1x1x5x4xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  %t = plena_tensor.add %c, %h : tensor<1x2x5x4xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  %n = plena_tensor.rms_norm %t {eps = 1.0e-6 : f64} : (tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32>
  func.return %n : tensor<1x2x5x4xf32>
}

// Each head has a gain of its own, multiplied afterwards (Cohere).
// CHECK-LABEL: func.func @gain_per_head
// CHECK:         %[[G:.*]] = plena_tensor.reshape %g : tensor<2x4xf32> -> tensor<8xf32>
// CHECK-NEXT:    plena_tensor.layer_norm %{{.*}} gain(%[[G]] : tensor<8xf32>) {eps = 1.000000e-05 : f64, groups = 2 : i64}
// CHECK-NOT:     plena_tensor.mul
func.func @gain_per_head(%x : tensor<5x8xf32>) -> tensor<1x5x2x4xf32> {
  %g = plena_tensor.parameter "g" : tensor<2x4xf32>
  %s = plena_tensor.reshape %x : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
  %n = plena_tensor.layer_norm %s {eps = 1.0e-5 : f64} : tensor<1x5x2x4xf32> -> tensor<1x5x2x4xf32>
  %y = plena_tensor.mul %n, %g : tensor<1x5x2x4xf32>, tensor<2x4xf32> -> tensor<1x5x2x4xf32>
  func.return %y : tensor<1x5x2x4xf32>
}

// Of one head the permutation does nothing and is gone: the five rows are not taken for heads.
// CHECK-LABEL: func.func @one_head
// CHECK:         plena_tensor.layer_norm %{{.*}} gain(%g : tensor<4xf32>) {eps = 1.000000e-05 : f64} : tensor<5x4xf32> -> tensor<5x4xf32>
func.func @one_head(%x : tensor<1x5x4xf32>) -> tensor<1x1x5x4xf32> {
  %g = plena_tensor.parameter "g" : tensor<4xf32>
  %s = plena_tensor.reshape %x : tensor<1x5x4xf32> -> tensor<1x1x5x4xf32>
  %n = plena_tensor.layer_norm %s gain(%g : tensor<4xf32>) {eps = 1.0e-5 : f64} : tensor<1x1x5x4xf32> -> tensor<1x1x5x4xf32>
  func.return %n : tensor<1x1x5x4xf32>
}

// Whether the second dimension counts heads or rows is not known.
// CHECK-LABEL: func.func @unknown
// CHECK:         plena_tensor.rms_norm %x {eps = 1.000000e-06 : f64} : (tensor<1x2x5x4xf32>
func.func @unknown(%x : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %n = plena_tensor.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32>
  func.return %n : tensor<1x2x5x4xf32>
}
