// RUN: plena-opt %s -p raise-norms | filecheck %s

// The arithmetic of LlamaRMSNorm, gain first as Hugging Face writes it.
// CHECK-LABEL: func.func @llama
// CHECK-NEXT:    %gain = plena_tensor.parameter "norm.weight"
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %x, %gain {eps = 2.500000e-01 : f64} : (tensor<1x4x8xf32>, tensor<8xf32>)
// CHECK-NEXT:    func.return %[[N]]
func.func @llama(%x : tensor<1x4x8xf32>) -> tensor<1x4x8xf32> {
  %two = plena_tensor.constant dense<2.0> : tensor<f32>
  %sq = plena_tensor.pow %x, %two : tensor<1x4x8xf32>, tensor<f32> -> tensor<1x4x8xf32>
  %mean = plena_tensor.mean %sq {dims = array<i64: -1>, keepdim} : tensor<1x4x8xf32> -> tensor<1x4x1xf32>
  %eps = plena_tensor.constant dense<0.25> : tensor<f32>
  %sum = plena_tensor.add %mean, %eps : tensor<1x4x1xf32>, tensor<f32> -> tensor<1x4x1xf32>
  %r = plena_tensor.rsqrt %sum : tensor<1x4x1xf32> -> tensor<1x4x1xf32>
  %n = plena_tensor.mul %x, %r : tensor<1x4x8xf32>, tensor<1x4x1xf32> -> tensor<1x4x8xf32>
  %gain = plena_tensor.parameter "norm.weight" : tensor<8xf32>
  %y = plena_tensor.mul %gain, %n : tensor<8xf32>, tensor<1x4x8xf32> -> tensor<1x4x8xf32>
  func.return %y : tensor<1x4x8xf32>
}

// A square as a product, every sum and product the other way round, a gain of 1 + w, and no gain at all.
// CHECK-LABEL: func.func @variants
// CHECK:         %[[G:.*]] = plena_tensor.add %w, %one
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %[[G]] : tensor<1x8xf32> -> tensor<8xf32>
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %x, %[[R]] {eps = 1.250000e-01 : f64}
// CHECK-NEXT:    func.return %[[N]]
func.func @variants(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %sq = plena_tensor.mul %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  %mean = plena_tensor.mean %sq {dims = array<i64: 1>, keepdim} : tensor<4x8xf32> -> tensor<4x1xf32>
  %eps = plena_tensor.constant dense<0.125> : tensor<1x1xf32>
  %sum = plena_tensor.add %eps, %mean : tensor<1x1xf32>, tensor<4x1xf32> -> tensor<4x1xf32>
  %r = plena_tensor.rsqrt %sum : tensor<4x1xf32> -> tensor<4x1xf32>
  %n = plena_tensor.mul %r, %x : tensor<4x1xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  %w = plena_tensor.parameter "norm.weight" : tensor<1x8xf32>
  %one = plena_tensor.constant dense<1.0> : tensor<f32>
  %gain = plena_tensor.add %w, %one : tensor<1x8xf32>, tensor<f32> -> tensor<1x8xf32>
  %y = plena_tensor.mul %n, %gain : tensor<4x8xf32>, tensor<1x8xf32> -> tensor<4x8xf32>
  func.return %y : tensor<4x8xf32>
}

// Close, but no norm: the mean is of another tensor, over another dimension, of a cube; the second factor is no weight.
// CHECK-LABEL: func.func @others
// CHECK-NOT:     rms_norm %{{.*}} : (tensor<8x8xf32>, tensor<8xf32>)
// CHECK-COUNT-3: plena_tensor.rsqrt
// CHECK:         %[[N:.*]] = plena_tensor.rms_norm %x {eps = 2.500000e-01 : f64} : (tensor<8x8xf32>) -> tensor<8x8xf32>
// CHECK-NEXT:    plena_tensor.mul %[[N]], %z
func.func @others(%x : tensor<8x8xf32>, %z : tensor<8xf32>) -> (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) {
  %two = plena_tensor.constant dense<2.0> : tensor<f32>
  %three = plena_tensor.constant dense<3.0> : tensor<f32>
  %eps = plena_tensor.constant dense<0.25> : tensor<f32>
  %sq = plena_tensor.pow %x, %two : tensor<8x8xf32>, tensor<f32> -> tensor<8x8xf32>
  %cube = plena_tensor.pow %x, %three : tensor<8x8xf32>, tensor<f32> -> tensor<8x8xf32>
  %m0 = plena_tensor.mean %sq {dims = array<i64: -1>, keepdim} : tensor<8x8xf32> -> tensor<8x1xf32>
  %m1 = plena_tensor.mean %sq {dims = array<i64: 0>, keepdim} : tensor<8x8xf32> -> tensor<1x8xf32>
  %m2 = plena_tensor.mean %cube {dims = array<i64: -1>, keepdim} : tensor<8x8xf32> -> tensor<8x1xf32>
  %s0 = plena_tensor.add %m0, %eps : tensor<8x1xf32>, tensor<f32> -> tensor<8x1xf32>
  %s1 = plena_tensor.add %m1, %eps : tensor<1x8xf32>, tensor<f32> -> tensor<1x8xf32>
  %s2 = plena_tensor.add %m2, %eps : tensor<8x1xf32>, tensor<f32> -> tensor<8x1xf32>
  %r0 = plena_tensor.rsqrt %s0 : tensor<8x1xf32> -> tensor<8x1xf32>
  %r1 = plena_tensor.rsqrt %s1 : tensor<1x8xf32> -> tensor<1x8xf32>
  %r2 = plena_tensor.rsqrt %s2 : tensor<8x1xf32> -> tensor<8x1xf32>
  %y0 = plena_tensor.mul %sq, %r0 : tensor<8x8xf32>, tensor<8x1xf32> -> tensor<8x8xf32>
  %y1 = plena_tensor.mul %x, %r1 : tensor<8x8xf32>, tensor<1x8xf32> -> tensor<8x8xf32>
  %y2 = plena_tensor.mul %x, %r2 : tensor<8x8xf32>, tensor<8x1xf32> -> tensor<8x8xf32>
  %n = plena_tensor.mul %x, %r0 : tensor<8x8xf32>, tensor<8x1xf32> -> tensor<8x8xf32>
  %y3 = plena_tensor.mul %n, %z : tensor<8x8xf32>, tensor<8xf32> -> tensor<8x8xf32>
  func.return %y0, %y1, %y2, %y3 : tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>
}

// A row divided by its length: eps = c^2 / 4 features, and 1 / sqrt(4) in place of the length.
// CHECK-LABEL: func.func @unit_length
// CHECK-NEXT:    %[[N:.*]] = plena_tensor.rms_norm %x {eps = 2.4999999873762136e-13 : f64} : (tensor<3x4xf32>) -> tensor<3x4xf32>
// CHECK-NEXT:    %[[S:.*]] = plena_tensor.constant dense<5.000000e-01> : tensor<f32>
// CHECK-NEXT:    %[[Y:.*]] = plena_tensor.mul %[[N]], %[[S]]
// CHECK-NEXT:    func.return %[[Y]]
func.func @unit_length(%x : tensor<3x4xf32>) -> tensor<3x4xf32> {
  %sq = plena_tensor.mul %x, %x : tensor<3x4xf32>, tensor<3x4xf32> -> tensor<3x4xf32>
  %sum = plena_tensor.sum %sq {dims = array<i64: 1>, keepdim} : tensor<3x4xf32> -> tensor<3x1xf32>
  %length = plena_tensor.sqrt %sum : tensor<3x1xf32> -> tensor<3x1xf32>
  %c = plena_tensor.constant dense<1.0e-6> : tensor<f32>
  %least = plena_tensor.maximum %length, %c : tensor<3x1xf32>, tensor<f32> -> tensor<3x1xf32>
  %whole = plena_tensor.expand %least : tensor<3x1xf32> -> tensor<3x4xf32>
  %y = plena_tensor.div %x, %whole : tensor<3x4xf32>, tensor<3x4xf32> -> tensor<3x4xf32>
  func.return %y : tensor<3x4xf32>
}
