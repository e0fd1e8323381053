// RUN: plena-opt %s -p verify-canonical --split-input-file --verify-diagnostics | filecheck %s

// CHECK: func.func @good
func.func @good(%ids : tensor<4xi64>) -> tensor<1x8xf32> {
  %table = plena_tensor.parameter "table" : tensor<16x8xf32>
  %t = plena_tensor.quantize %table {format = "act", terms = 1 : i64} : tensor<16x8xf32> -> tensor<16x8xf32>
  %e = plena_tensor.embedding %t, %ids : tensor<16x8xf32>, tensor<4xi64> -> tensor<4x8xf32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %y = scf.for %l = %c0 to %c2 step %c1 iter_args(%h = %e) -> (tensor<4x8xf32>) {
    %w = plena_tensor.parameter "h.{}.w" [%l] : tensor<8x8xf32>
    %q = plena_tensor.quantize %w {format = "weight", terms = 1 : i64} : tensor<8x8xf32> -> tensor<8x8xf32>
    %n = plena_tensor.linear %h, %q : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
    scf.yield %n : tensor<4x8xf32>
  }
  %last = plena_tensor.slice %y {dim = 0 : i64, start = 3 : i64, end = 4 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<1x8xf32>
  func.return %last : tensor<1x8xf32>
}

// -----

// CHECK: model.act: plena_tensor.tanh cannot be lowered (the compiler lowers embedding, rms_norm,
func.func @unknown_op(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %y = plena_tensor.tanh %x : tensor<4x8xf32> -> tensor<4x8xf32> loc("model.act")
  func.return %y : tensor<4x8xf32>
}

// -----

// CHECK: model.fc: plena_tensor.linear reads operand 1 outside the weight format (run assign-precision)
func.func @unquantized(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %y = plena_tensor.linear %x, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32> loc("model.fc")
  func.return %y : tensor<4x8xf32>
}

// -----

// CHECK: plena_tensor.mul broadcasts an activation of shape (1, 8)
func.func @broadcast(%x : tensor<4x8xf32>, %z : tensor<1x8xf32>) -> tensor<4x8xf32> {
  %y = plena_tensor.mul %x, %z : tensor<4x8xf32>, tensor<1x8xf32> -> tensor<4x8xf32>
  func.return %y : tensor<4x8xf32>
}

// -----

// Inputs may have any shape, as long as what reads them sees rows.
// CHECK: plena_tensor.silu takes a value of shape (1, 4, 8), not [rows, features] or ids [rows]
func.func @rank_3(%x : tensor<2x2x8xf32>) -> tensor<1x4x8xf32> {
  %r = plena_tensor.reshape %x : tensor<2x2x8xf32> -> tensor<1x4x8xf32>
  %y = plena_tensor.silu %r : tensor<1x4x8xf32> -> tensor<1x4x8xf32>
  func.return %y : tensor<1x4x8xf32>
}

// -----

// CHECK: func.return returns an input or a weight as it is
func.func @nothing(%x : tensor<8x4xf32>) -> tensor<4x8xf32> {
  %y = plena_tensor.permute %x {perm = array<i64: 1, 0>} : tensor<8x4xf32> -> tensor<4x8xf32>
  func.return %y : tensor<4x8xf32>
}

// -----

// CHECK: plena_tensor.exp has no place in a weight expression
func.func @weight(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %w = plena_tensor.parameter "w" : tensor<8x8xf32>
  %e = plena_tensor.exp %w : tensor<8x8xf32> -> tensor<8x8xf32>
  func.return %x : tensor<4x8xf32>
}

// -----

// CHECK: scf.for has a bound that is no constant
func.func @bound(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %y = scf.for %l = %c0 to %c2 step %c1 iter_args(%h = %x) -> (tensor<4x8xf32>) {
    %z = scf.for %m = %c0 to %l step %c1 iter_args(%i = %h) -> (tensor<4x8xf32>) {
      scf.yield %i : tensor<4x8xf32>
    }
    scf.yield %z : tensor<4x8xf32>
  }
  func.return %y : tensor<4x8xf32>
}
