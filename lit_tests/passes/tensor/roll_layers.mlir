// RUN: plena-opt %s -p roll-layers --print-debuginfo | filecheck %s

// Layers 0 and 1 differ only in their parameters' index; layer 2 has another eps and stays. %t is shared by all.
// CHECK-LABEL: func.func @main
// CHECK:         %t = plena_tensor.parameter "table"
// CHECK-NEXT:    %[[L0:.*]] = arith.constant 0 : index
// CHECK-NEXT:    %[[L1:.*]] = arith.constant 2 : index
// CHECK-NEXT:    %[[ONE:.*]] = arith.constant 1 : index
// CHECK-NEXT:    %[[LOOP:.*]] = scf.for %layer = %[[L0]] to %[[L1]] step %[[ONE]] iter_args(%[[H:.*]] = %x) -> (tensor<2x4xf32>) {
// CHECK-NEXT:      %[[N:.*]] = plena_tensor.rms_norm %[[H]] {eps = 1.000000e+00 : f64} : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("h.{}.ln")
// CHECK-NEXT:      %[[W:.*]] = plena_tensor.parameter "h.{}.w"[%layer] : tensor<4x4xf32> loc("h.{}.fc")
// CHECK-NEXT:      %[[WT:.*]] = plena_tensor.mul %[[W]], %t : tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32> loc("h.{}.fc")
// CHECK-NEXT:      %[[Y:.*]] = plena_tensor.linear %[[N]], %[[WT]] : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32> loc("h.{}.fc")
// CHECK-NEXT:      %[[A:.*]] = plena_tensor.add %[[H]], %[[Y]] : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32> loc("h.{}")
// CHECK-NEXT:      scf.yield %[[A]] : tensor<2x4xf32>
// CHECK-NEXT:    } loc("h.{}")
// CHECK-NEXT:    %n2 = plena_tensor.rms_norm %[[LOOP]] {eps = 2.000000e+00 : f64}
// CHECK-NEXT:    %w2 = plena_tensor.parameter "h.2.w"
func.func @main(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
  %t = plena_tensor.parameter "table" : tensor<4xf32> loc("h.0.fc")
  %n0 = plena_tensor.rms_norm %x {eps = 1.0 : f64} : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("h.0.ln")
  %w0 = plena_tensor.parameter "h.0.w" : tensor<4x4xf32> loc("h.0.fc")
  %s0 = plena_tensor.mul %w0, %t : tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32> loc("h.0.fc")
  %y0 = plena_tensor.linear %n0, %s0 : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32> loc("h.0.fc")
  %a0 = plena_tensor.add %x, %y0 : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32> loc("h.0")
  %n1 = plena_tensor.rms_norm %a0 {eps = 1.0 : f64} : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("h.1.ln")
  %w1 = plena_tensor.parameter "h.1.w" : tensor<4x4xf32> loc("h.1.fc")
  %s1 = plena_tensor.mul %w1, %t : tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32> loc("h.1.fc")
  %y1 = plena_tensor.linear %n1, %s1 : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32> loc("h.1.fc")
  %a1 = plena_tensor.add %a0, %y1 : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32> loc("h.1")
  %n2 = plena_tensor.rms_norm %a1 {eps = 2.0 : f64} : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("h.2.ln")
  %w2 = plena_tensor.parameter "h.2.w" : tensor<4x4xf32> loc("h.2.fc")
  %s2 = plena_tensor.mul %w2, %t : tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32> loc("h.2.fc")
  %y2 = plena_tensor.linear %n2, %s2 : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32> loc("h.2.fc")
  %a2 = plena_tensor.add %a1, %y2 : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32> loc("h.2")
  func.return %a2 : tensor<2x4xf32>
}
