// RUN: plena-opt %s -p raise-attention --split-input-file --verify-diagnostics | filecheck %s

// Two sequences of three rows, the second with one row of padding on the left: each is causal by itself, on its own rows.
// CHECK-LABEL: func.func @padded
// CHECK:         plena_tensor.attention %{{.*}}, %{{.*}}, %{{.*}} {heads = 2 : i64, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, mask_kind = "causal", sequences = array<i64: 0, 3, 4, 2>} : (tensor<6x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6x8xf32>
builtin.module attributes {"plena.sequences" = array<i64: 0, 3, 4, 2>} {
  func.func @padded(%q : tensor<2x2x3x4xf32>, %k : tensor<2x2x3x4xf32>, %v : tensor<2x2x3x4xf32>) -> tensor<2x2x3x4xf32> {
    %mask = plena_tensor.constant dense<[[[[true, false, false], [true, true, false], [true, true, true]]], [[[false, false, false], [false, true, false], [false, true, true]]]]> : tensor<2x1x3x3xi1>
    %o = plena_tensor.sdpa %q, %k, %v mask %mask : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2x1x3x3xi1>) -> tensor<2x2x3x4xf32>
    func.return %o : tensor<2x2x3x4xf32>
  }
}

// -----

// Without a mask, the second sequence would see its padding.
// CHECK: model.attn: the attention mask lets sequence 1 see its padding
builtin.module attributes {"plena.sequences" = array<i64: 0, 3, 4, 2>} {
  func.func @unmasked(%q : tensor<2x2x3x4xf32>, %k : tensor<2x2x3x4xf32>, %v : tensor<2x2x3x4xf32>) -> tensor<2x2x3x4xf32> {
    %o = plena_tensor.sdpa %q, %k, %v : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>) -> tensor<2x2x3x4xf32> loc("model.attn")
    func.return %o : tensor<2x2x3x4xf32>
  }
}

// -----

// CHECK: model.attn: this attention hides later tokens although it is to be bidirectional
builtin.module attributes {"plena.bidirectional"} {
  func.func @still_causal(%q : tensor<1x2x3x4xf32>, %k : tensor<1x2x3x4xf32>, %v : tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32> {
    %o = plena_tensor.sdpa %q, %k, %v {is_causal} : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32> loc("model.attn")
    func.return %o : tensor<1x2x3x4xf32>
  }
}
