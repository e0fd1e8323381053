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

// CodeGen adds the mask before it scales: what the mask adds is scaled too.
// CHECK-LABEL: func.func @mask_inside
// CHECK:         %[[F:.*]] = plena_tensor.constant dense<5.000000e-01> : tensor<f32>
// CHECK-NEXT:    %[[M:.*]] = plena_tensor.mul %mask, %[[F]]
// CHECK-NEXT:    plena_tensor.sdpa %q, %{{.*}}, %v mask %[[M]] {scale = 5.000000e-01 : f64}
func.func @mask_inside(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %mask = plena_tensor.parameter "mask" : tensor<1x1x5x5xf32>
  %two = plena_tensor.constant dense<2.0> : tensor<f32>
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %m = plena_tensor.add %s, %mask : tensor<1x2x5x5xf32>, tensor<1x1x5x5xf32> -> tensor<1x2x5x5xf32>
  %d = plena_tensor.div %m, %two : tensor<1x2x5x5xf32>, tensor<f32> -> tensor<1x2x5x5xf32>
  %p = plena_tensor.softmax %d {dim = -1 : i64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %p, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}

// GPT-Neo chooses between scores and a low number, and adds a mask besides.
// CHECK-LABEL: func.func @chosen
// CHECK:         %[[W:.*]] = plena_tensor.where %kept, %{{.*}}, %{{.*}} : tensor<1x1x5x5xi1>, tensor<f32>, tensor<f32> -> tensor<1x1x5x5xf32>
// CHECK-NEXT:    %[[M:.*]] = plena_tensor.add %mask, %[[W]]
// CHECK-NEXT:    plena_tensor.sdpa %q, %{{.*}}, %v mask %[[M]]
func.func @chosen(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %mask = plena_tensor.parameter "mask" : tensor<1x1x5x5xf32>
  %kept = plena_tensor.parameter "kept" : tensor<1x1x5x5xi1>
  %low = plena_tensor.constant dense<-1.0e+38> : tensor<f32>
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %w = plena_tensor.where %kept, %s, %low : tensor<1x1x5x5xi1>, tensor<1x2x5x5xf32>, tensor<f32> -> tensor<1x2x5x5xf32>
  %m = plena_tensor.add %w, %mask : tensor<1x2x5x5xf32>, tensor<1x1x5x5xf32> -> tensor<1x2x5x5xf32>
  %p = plena_tensor.softmax %m {dim = -1 : i64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %p, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}

// XGLM keeps heads and batch in one dimension and bounds the masked scores from below.
// CHECK-LABEL: func.func @batched
// CHECK:         %[[K:.*]] = plena_tensor.permute %k {perm = array<i64: 0, 2, 1>} : tensor<2x4x5xf32> -> tensor<2x5x4xf32>
// CHECK-NEXT:    %[[Q1:.*]] = plena_tensor.reshape %q : tensor<2x5x4xf32> -> tensor<1x2x5x4xf32>
// CHECK-NEXT:    %[[K1:.*]] = plena_tensor.reshape %[[K]] : tensor<2x5x4xf32> -> tensor<1x2x5x4xf32>
// CHECK-NEXT:    %[[V1:.*]] = plena_tensor.reshape %v : tensor<2x5x4xf32> -> tensor<1x2x5x4xf32>
// CHECK-NEXT:    %[[Y:.*]] = plena_tensor.sdpa %[[Q1]], %[[K1]], %[[V1]] mask %mask {scale = 1.000000e+00 : f64}
// CHECK-NEXT:    plena_tensor.reshape %[[Y]] : tensor<1x2x5x4xf32> -> tensor<2x5x4xf32>
func.func @batched(%q : tensor<2x5x4xf32>, %k : tensor<2x4x5xf32>, %v : tensor<2x5x4xf32>) -> tensor<2x5x4xf32> {
  %mask = plena_tensor.parameter "mask" : tensor<1x1x5x5xf32>
  %low = plena_tensor.constant dense<-1.0e+38> : tensor<f32>
  %s = plena_tensor.matmul %q, %k : tensor<2x5x4xf32>, tensor<2x4x5xf32> -> tensor<2x5x5xf32>
  %s1 = plena_tensor.reshape %s : tensor<2x5x5xf32> -> tensor<1x2x5x5xf32>
  %m = plena_tensor.add %s1, %mask : tensor<1x2x5x5xf32>, tensor<1x1x5x5xf32> -> tensor<1x2x5x5xf32>
  %b = plena_tensor.maximum %m, %low : tensor<1x2x5x5xf32>, tensor<f32> -> tensor<1x2x5x5xf32>
  %b1 = plena_tensor.reshape %b : tensor<1x2x5x5xf32> -> tensor<2x5x5xf32>
  %p = plena_tensor.softmax %b1 {dim = -1 : i64} : tensor<2x5x5xf32> -> tensor<2x5x5xf32>
  %y = plena_tensor.matmul %p, %v : tensor<2x5x5xf32>, tensor<2x5x4xf32> -> tensor<2x5x4xf32>
  func.return %y : tensor<2x5x4xf32>
}

// A bias that depends on the input, and a bound that scores may reach, are no masks.
// CHECK-LABEL: func.func @no_masks
// CHECK-NOT:     plena_tensor.sdpa
// CHECK:         func.return
func.func @no_masks(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>, %bias : tensor<1x1x5x5xf32>) -> (tensor<1x2x5x4xf32>, tensor<1x2x5x4xf32>) {
  %low = plena_tensor.constant dense<-5.0> : tensor<f32>
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %m = plena_tensor.add %s, %bias : tensor<1x2x5x5xf32>, tensor<1x1x5x5xf32> -> tensor<1x2x5x5xf32>
  %p = plena_tensor.softmax %m {dim = -1 : i64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %p, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  %b = plena_tensor.maximum %s, %low : tensor<1x2x5x5xf32>, tensor<f32> -> tensor<1x2x5x5xf32>
  %r = plena_tensor.softmax %b {dim = -1 : i64} : tensor<1x2x5x5xf32> -> tensor<1x2x5x5xf32>
  %z = plena_tensor.matmul %r, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y, %z : tensor<1x2x5x4xf32>, tensor<1x2x5x4xf32>
}

// GPT-OSS: one more score per head, the same for every query, which is dropped after the softmax.
// CHECK-LABEL: func.func @sinks
// CHECK:         %[[S:.*]] = plena_tensor.reshape %{{.*}} : tensor<1x2x1x1xf32> -> tensor<2xf32>
// CHECK:         plena_tensor.sdpa %q, %{{.*}}, %v mask %mask sinks %[[S]] {scale = 5.000000e-01 : f64}
func.func @sinks(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %mask = plena_tensor.parameter "mask" : tensor<1x1x5x5xf32>
  %sinks = plena_tensor.parameter "sinks" : tensor<2xf32>
  %half = plena_tensor.constant dense<0.5> : tensor<f32>
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %t = plena_tensor.mul %s, %half : tensor<1x2x5x5xf32>, tensor<f32> -> tensor<1x2x5x5xf32>
  %m = plena_tensor.add %t, %mask : tensor<1x2x5x5xf32>, tensor<1x1x5x5xf32> -> tensor<1x2x5x5xf32>
  %r = plena_tensor.reshape %sinks : tensor<2xf32> -> tensor<1x2x1x1xf32>
  %e = plena_tensor.expand %r : tensor<1x2x1x1xf32> -> tensor<1x2x5x1xf32>
  %c = plena_tensor.concat %m, %e {dim = -1 : i64} : (tensor<1x2x5x5xf32>, tensor<1x2x5x1xf32>) -> tensor<1x2x5x6xf32>
  %x = plena_tensor.amax %c {dims = array<i64: 3>, keepdim} : tensor<1x2x5x6xf32> -> tensor<1x2x5x1xf32>
  %d = plena_tensor.sub %c, %x : tensor<1x2x5x6xf32>, tensor<1x2x5x1xf32> -> tensor<1x2x5x6xf32>
  %p = plena_tensor.softmax %d {dim = -1 : i64} : tensor<1x2x5x6xf32> -> tensor<1x2x5x6xf32>
  %w = plena_tensor.slice %p {dim = 3 : i64, start = 0 : i64, end = 5 : i64, step = 1 : i64} : tensor<1x2x5x6xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %w, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}

// Another score that is not dropped is a key like the others, and one that is no weight is no sink.
// CHECK-LABEL: func.func @no_sinks
// CHECK-NOT:     plena_tensor.sdpa
// CHECK:         func.return
func.func @no_sinks(%q : tensor<1x2x5x4xf32>, %k : tensor<1x2x4x5xf32>, %v : tensor<1x2x5x4xf32>, %e : tensor<1x2x5x1xf32>) -> tensor<1x2x5x4xf32> {
  %s = plena_tensor.matmul %q, %k : tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32> -> tensor<1x2x5x5xf32>
  %c = plena_tensor.concat %s, %e {dim = -1 : i64} : (tensor<1x2x5x5xf32>, tensor<1x2x5x1xf32>) -> tensor<1x2x5x6xf32>
  %p = plena_tensor.softmax %c {dim = -1 : i64} : tensor<1x2x5x6xf32> -> tensor<1x2x5x6xf32>
  %w = plena_tensor.slice %p {dim = 3 : i64, start = 0 : i64, end = 5 : i64, step = 1 : i64} : tensor<1x2x5x6xf32> -> tensor<1x2x5x5xf32>
  %y = plena_tensor.matmul %w, %v : tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}
