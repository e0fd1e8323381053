// RUN: plena-opt %s | plena-opt | filecheck %s

func.func @main(%ids: tensor<4xi64>) -> tensor<4x16xf32> {
  %table = plena_tensor.parameter "model.embed_tokens.weight" : tensor<16x8xf32>
  %x = plena_tensor.embedding %table, %ids : tensor<16x8xf32>, tensor<4xi64> -> tensor<4x8xf32>
  %gain = plena_tensor.parameter "model.norm.weight" : tensor<8xf32>
  %n = plena_tensor.rms_norm %x, %gain {eps = 1.000000e-05 : f64} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %cos = plena_tensor.parameter "const.0" : tensor<4x4xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<4x4xf32>
  %q = plena_tensor.rope %n, %cos, %sin {heads = 2 : i64} : (tensor<4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x8xf32>
  %a = plena_tensor.attention %q, %n, %n {heads = 2 : i64, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, mask_kind = "causal"} : (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %w = plena_tensor.quantize %table {format = "weight", terms = 1 : i64} : tensor<16x8xf32> -> tensor<16x8xf32>
  %y = plena_tensor.linear %a, %w : (tensor<4x8xf32>, tensor<16x8xf32>) -> tensor<4x16xf32>
  func.return %y : tensor<4x16xf32>
}

// CHECK:       func.func @main(%ids: tensor<4xi64>) -> tensor<4x16xf32> {
// CHECK-NEXT:    %table = plena_tensor.parameter "model.embed_tokens.weight" : tensor<16x8xf32>
// CHECK-NEXT:    %x = plena_tensor.embedding %table, %ids : tensor<16x8xf32>, tensor<4xi64> -> tensor<4x8xf32>
// CHECK-NEXT:    %gain = plena_tensor.parameter "model.norm.weight" : tensor<8xf32>
// CHECK-NEXT:    %n = plena_tensor.rms_norm %x, %gain {eps = 1.000000e-05 : f64} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
// CHECK:         %q = plena_tensor.rope %n, %cos, %sin {heads = 2 : i64} :
// CHECK-NEXT:    %a = plena_tensor.attention %q, %n, %n {heads = 2 : i64, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, mask_kind = "causal"} :
// CHECK-NEXT:    %w = plena_tensor.quantize %table {format = "weight", terms = 1 : i64} : tensor<16x8xf32> -> tensor<16x8xf32>
// CHECK-NEXT:    %y = plena_tensor.linear %a, %w : (tensor<4x8xf32>, tensor<16x8xf32>) -> tensor<4x16xf32>
