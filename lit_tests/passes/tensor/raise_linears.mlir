// RUN: plena-opt %s -p raise-linears | filecheck %s

// A Conv1D as in GPT-2: x W + b with W [in, out].
// CHECK-LABEL: func.func @conv1d
// CHECK:         %[[W:.*]] = plena_tensor.permute %w {perm = array<i64: 1, 0>} : tensor<4x6xf32> -> tensor<6x4xf32>
// CHECK-NEXT:    %[[Y:.*]] = plena_tensor.linear %x, %[[W]], %b : (tensor<5x4xf32>, tensor<6x4xf32>, tensor<6xf32>) -> tensor<5x6xf32>
// CHECK-NEXT:    func.return %[[Y]]
func.func @conv1d(%x : tensor<5x4xf32>) -> tensor<5x6xf32> {
  %w = plena_tensor.parameter "w" : tensor<4x6xf32>
  %b = plena_tensor.parameter "b" : tensor<6xf32>
  %p = plena_tensor.matmul %x, %w : tensor<5x4xf32>, tensor<4x6xf32> -> tensor<5x6xf32>
  %y = plena_tensor.add %b, %p : tensor<6xf32>, tensor<5x6xf32> -> tensor<5x6xf32>
  func.return %y : tensor<5x6xf32>
}

// A row of rank 3 becomes a bias of rank 1.
// CHECK-LABEL: func.func @row
// CHECK:         %[[B:.*]] = plena_tensor.reshape %b : tensor<1x1x6xf32> -> tensor<6xf32>
// CHECK-NEXT:    plena_tensor.linear %x, %w, %[[B]]
func.func @row(%x : tensor<1x5x4xf32>) -> tensor<1x5x6xf32> {
  %w = plena_tensor.parameter "w" : tensor<6x4xf32>
  %b = plena_tensor.parameter "b" : tensor<1x1x6xf32>
  %p = plena_tensor.linear %x, %w : (tensor<1x5x4xf32>, tensor<6x4xf32>) -> tensor<1x5x6xf32>
  %y = plena_tensor.add %p, %b : tensor<1x5x6xf32>, tensor<1x1x6xf32> -> tensor<1x5x6xf32>
  func.return %y : tensor<1x5x6xf32>
}

// The product without the bias is needed too, the addend differs between rows, and both factors are activations.
// CHECK-LABEL: func.func @stays
// CHECK:         plena_tensor.linear %x, %w :
// CHECK:         plena_tensor.add
// CHECK:         plena_tensor.linear %x, %w :
// CHECK:         plena_tensor.add
// CHECK:         plena_tensor.matmul
func.func @stays(%x : tensor<5x4xf32>, %z : tensor<4x6xf32>) -> (tensor<5x6xf32>, tensor<5x6xf32>, tensor<5x6xf32>, tensor<5x6xf32>) {
  %w = plena_tensor.parameter "w" : tensor<6x4xf32>
  %b = plena_tensor.parameter "b" : tensor<6xf32>
  %rows = plena_tensor.parameter "rows" : tensor<5x6xf32>
  %p = plena_tensor.linear %x, %w : (tensor<5x4xf32>, tensor<6x4xf32>) -> tensor<5x6xf32>
  %y = plena_tensor.add %p, %b : tensor<5x6xf32>, tensor<6xf32> -> tensor<5x6xf32>
  %q = plena_tensor.linear %x, %w : (tensor<5x4xf32>, tensor<6x4xf32>) -> tensor<5x6xf32>
  %r = plena_tensor.add %q, %rows : tensor<5x6xf32>, tensor<5x6xf32> -> tensor<5x6xf32>
  %m = plena_tensor.matmul %x, %z : tensor<5x4xf32>, tensor<4x6xf32> -> tensor<5x6xf32>
  func.return %p, %y, %r, %m : tensor<5x6xf32>, tensor<5x6xf32>, tensor<5x6xf32>, tensor<5x6xf32>
}
