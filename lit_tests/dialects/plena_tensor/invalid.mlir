// RUN: plena-opt %s --split-input-file --verify-diagnostics | filecheck %s

%x, %w = "test.op"() : () -> (tensor<4x8xf32>, tensor<8x3xf32>)
// CHECK: linear input (4, 8) does not match weight (8, 3)
%y = plena_tensor.linear %x, %w : (tensor<4x8xf32>, tensor<8x3xf32>) -> tensor<4x3xf32>

// -----

%x = "test.op"() : () -> tensor<4x8xf32>
// CHECK: attention needs rank 2 operands
%q = plena_tensor.reshape %x : tensor<4x8xf32> -> tensor<1x4x8xf32>
%y = plena_tensor.attention %q, %x, %x {heads = 2 : i64, kv_heads = 2 : i64, scale = 1.0 : f64, mask_kind = "none"} : (tensor<1x4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>

// -----

%x = "test.op"() : () -> tensor<4x8xf32>
// CHECK: result has shape (4, 9), expected (4, 8)
%y = plena_tensor.add %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x9xf32>

// -----

// CHECK: has 1 index places for its operand
%w = plena_tensor.parameter "model.layers.{}.weight" : tensor<4x8xf32>
