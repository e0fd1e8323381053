// RUN: plena-opt %s -p raise-routing --split-input-file | filecheck %s

// Softmax over all, the greatest two, divided by their sum.
// CHECK-LABEL: func.func @renormalised
// CHECK:         %[[I:.*]] = plena_tensor.topk %l {k = 2 : i64}
// CHECK-NEXT:    %[[W:.*]] = plena_tensor.moe_weights %l, %[[I]] {normalised = "chosen"}
// CHECK-NEXT:    func.return %[[W]], %[[I]]
func.func @renormalised(%l : tensor<3x6xf32>) -> (tensor<3x2xf32>, tensor<3x2xi64>) {
  %p = plena_tensor.softmax %l {dim = -1 : i64} : tensor<3x6xf32> -> tensor<3x6xf32>
  %i = plena_tensor.topk %p {k = 2 : i64} : tensor<3x6xf32> -> tensor<3x2xi64>
  %v = plena_tensor.gather %p, %i : tensor<3x6xf32>, tensor<3x2xi64> -> tensor<3x2xf32>
  %s = plena_tensor.sum %v {dims = array<i64: -1>, keepdim} : tensor<3x2xf32> -> tensor<3x1xf32>
  %w = plena_tensor.div %v, %s : tensor<3x2xf32>, tensor<3x1xf32> -> tensor<3x2xf32>
  func.return %w, %i : tensor<3x2xf32>, tensor<3x2xi64>
}

// -----

// Without the division the weights stay those over all experts.
// CHECK-LABEL: func.func @over_all
// CHECK:         %[[I:.*]] = plena_tensor.topk %l {k = 2 : i64}
// CHECK-NEXT:    plena_tensor.moe_weights %l, %[[I]] {normalised = "all"}
func.func @over_all(%l : tensor<3x6xf32>) -> (tensor<3x2xf32>, tensor<3x2xi64>) {
  %p = plena_tensor.softmax %l {dim = 1 : i64} : tensor<3x6xf32> -> tensor<3x6xf32>
  %i = plena_tensor.topk %p {k = 2 : i64} : tensor<3x6xf32> -> tensor<3x2xi64>
  %v = plena_tensor.gather %p, %i : tensor<3x6xf32>, tensor<3x2xi64> -> tensor<3x2xf32>
  func.return %v, %i : tensor<3x2xf32>, tensor<3x2xi64>
}

// -----

// The greatest two first, then a softmax over them.
// CHECK-LABEL: func.func @chosen_first
// CHECK:         %[[I:.*]] = plena_tensor.topk %l {k = 2 : i64}
// CHECK-NEXT:    plena_tensor.moe_weights %l, %[[I]] {normalised = "chosen"}
func.func @chosen_first(%l : tensor<3x6xf32>) -> (tensor<3x2xf32>, tensor<3x2xi64>) {
  %i = plena_tensor.topk %l {k = 2 : i64} : tensor<3x6xf32> -> tensor<3x2xi64>
  %v = plena_tensor.gather %l, %i : tensor<3x6xf32>, tensor<3x2xi64> -> tensor<3x2xf32>
  %w = plena_tensor.softmax %v {dim = 1 : i64} : tensor<3x2xf32> -> tensor<3x2xf32>
  func.return %w, %i : tensor<3x2xf32>, tensor<3x2xi64>
}

// -----

// Scores that are no softmax keep their arithmetic: nobody here knows what it means.
// CHECK-LABEL: func.func @sigmoid
// CHECK:         plena_tensor.topk %p
// CHECK:         plena_tensor.gather %p
func.func @sigmoid(%l : tensor<3x6xf32>) -> (tensor<3x2xf32>, tensor<3x2xi64>) {
  %p = plena_tensor.sigmoid %l : tensor<3x6xf32> -> tensor<3x6xf32>
  %i = plena_tensor.topk %p {k = 2 : i64} : tensor<3x6xf32> -> tensor<3x2xi64>
  %v = plena_tensor.gather %p, %i : tensor<3x6xf32>, tensor<3x2xi64> -> tensor<3x2xf32>
  func.return %v, %i : tensor<3x2xf32>, tensor<3x2xi64>
}

// -----

// Where a row has one expert, no sum over its experts is left to recognise.
// CHECK-LABEL: func.func @one_expert
// CHECK:         %[[I:.*]] = plena_tensor.topk %l {k = 1 : i64}
// CHECK-NEXT:    %[[W:.*]] = plena_tensor.moe_weights %l, %[[I]] {normalised = "chosen"}
// CHECK-NEXT:    plena_tensor.moe_combine %y, %[[W]]
func.func @one_expert(%l : tensor<3x6xf32>, %y : tensor<3x8xf32>) -> tensor<3x8xf32> {
  %p = plena_tensor.softmax %l {dim = 1 : i64} : tensor<3x6xf32> -> tensor<3x6xf32>
  %i = plena_tensor.topk %p {k = 1 : i64} : tensor<3x6xf32> -> tensor<3x1xi64>
  %v = plena_tensor.gather %p, %i : tensor<3x6xf32>, tensor<3x1xi64> -> tensor<3x1xf32>
  %w = plena_tensor.div %v, %v : tensor<3x1xf32>, tensor<3x1xf32> -> tensor<3x1xf32>
  %m = plena_tensor.mul %y, %w : tensor<3x8xf32>, tensor<3x1xf32> -> tensor<3x8xf32>
  func.return %m : tensor<3x8xf32>
}
