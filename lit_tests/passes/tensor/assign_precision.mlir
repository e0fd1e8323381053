// RUN: plena-opt %s -p assign-precision | filecheck %s
// RUN: plena-opt %s -p 'assign-precision{exact-error=0.01}' | filecheck %s --check-prefix=TWO
// RUN: plena-opt %s --target 8x4x4-ocp -p assign-precision | filecheck %s --check-prefix=OCP

// TWO: plena_tensor.quantize %b {format = "exact", terms = 2 : i64}

// What saturates under OCP is off by up to an eighth, so that a term more is needed.
// OCP: plena_tensor.quantize %b {format = "exact", terms = 4 : i64}

// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %[[X:.*]] = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    %table = plena_tensor.parameter
// CHECK-NEXT:    %[[T:.*]] = plena_tensor.quantize %table {format = "act", terms = 1 : i64}
// CHECK-NEXT:    %w = plena_tensor.parameter
// CHECK-NEXT:    %g = plena_tensor.parameter
// CHECK-NEXT:    %[[G:.*]] = plena_tensor.quantize %g {format = "exact", terms = 3 : i64}
// CHECK-NEXT:    %b = plena_tensor.parameter
// CHECK-NEXT:    %[[B:.*]] = plena_tensor.quantize %b {format = "exact", terms = 3 : i64}
// CHECK-NEXT:    %c = plena_tensor.parameter
// CHECK-NEXT:    %[[C:.*]] = plena_tensor.quantize %c {format = "exact", terms = 3 : i64}
// CHECK-NEXT:    %wg = plena_tensor.mul %w, %g
// CHECK-NEXT:    %[[W:.*]] = plena_tensor.quantize %wg {format = "weight", terms = 1 : i64}
// CHECK-NEXT:    %e = plena_tensor.embedding %[[T]], %ids
// CHECK-NEXT:    %h = plena_tensor.add %[[X]], %e
// CHECK-NEXT:    %q = plena_tensor.linear %h, %[[W]], %[[B]]
// CHECK-NEXT:    %k = plena_tensor.rope %q, %[[C]], %[[C]]
// CHECK-NEXT:    %[[K:.*]] = plena_tensor.quantize %k {format = "kv", terms = 1 : i64, group = 4 : i64}
// CHECK-NEXT:    %v = plena_tensor.rms_norm %q, %[[G]]
// CHECK-NEXT:    %[[V:.*]] = plena_tensor.quantize %v {format = "kv", terms = 1 : i64, group = 4 : i64}
// CHECK-NEXT:    %a = plena_tensor.attention %k, %[[K]], %[[V]]
func.func @main(%x : tensor<4x8xf32>, %ids : tensor<4xi64>) -> tensor<4x8xf32> {
  %table = plena_tensor.parameter "table" : tensor<16x8xf32>
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %g = plena_tensor.parameter "g" : tensor<8xf32>
  %b = plena_tensor.parameter "b" : tensor<8xf32>
  %c = plena_tensor.parameter "c" : tensor<4x4xf32>
  %wg = plena_tensor.mul %w, %g : tensor<8x8xf32>, tensor<8xf32> -> tensor<8x8xf32>
  %e = plena_tensor.embedding %table, %ids : tensor<16x8xf32>, tensor<4xi64> -> tensor<4x8xf32>
  %h = plena_tensor.add %x, %e : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  %q = plena_tensor.linear %h, %wg, %b : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %k = plena_tensor.rope %q, %c, %c {heads = 2 : i64} : (tensor<4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x8xf32>
  %v = plena_tensor.rms_norm %q, %g {eps = 1.0 : f64} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %a = plena_tensor.attention %k, %k, %v {heads = 2 : i64, kv_heads = 2 : i64, scale = 1.0 : f64, mask_kind = "causal"} : (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %a : tensor<4x8xf32>
}
