// RUN: plena-opt %s -p raise-attention --verify-diagnostics | filecheck %s

// CHECK: the values of the attention mask are not known
func.func @unknown_mask(%q : tensor<1x2x64x4xf32>) -> tensor<1x2x64x4xf32> {
  %mask = plena_tensor.parameter "const.0" : tensor<1x1x64x64xf32>
  %a = plena_tensor.sdpa %q, %q, %q mask %mask : (tensor<1x2x64x4xf32>, tensor<1x2x64x4xf32>, tensor<1x2x64x4xf32>, tensor<1x1x64x64xf32>) -> tensor<1x2x64x4xf32>
  func.return %a : tensor<1x2x64x4xf32>
}
