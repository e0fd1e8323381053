// RUN: plena-opt %s -p name-stages --print-debuginfo | filecheck %s

// Two ops of a kind in one module get numbers; a weight and its storage format get no name.
// CHECK:      %w = plena_tensor.parameter "w" : tensor<8x8xf32> loc("proj")
// CHECK-NEXT: %wq = plena_tensor.quantize %w {{.*}} loc("proj")
// CHECK-NEXT: %y = plena_tensor.linear %x, %wq {{.*}} loc("proj"("linear"))
// CHECK-NEXT: %a = plena_tensor.add %y, %x {{.*}} loc("layer"("add"))
// CHECK-NEXT: %b = plena_tensor.add %a, %y {{.*}} loc("layer"("add.1"))
// CHECK-NEXT: func.return %b : tensor<4x8xf32> loc("layer")
func.func @main(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %w = plena_tensor.parameter "w" : tensor<8x8xf32> loc("proj")
  %wq = plena_tensor.quantize %w {format = "weight", terms = 1 : i64} : tensor<8x8xf32> -> tensor<8x8xf32> loc("proj")
  %y = plena_tensor.linear %x, %wq : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32> loc("proj")
  %a = plena_tensor.add %y, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32> loc("layer")
  %b = plena_tensor.add %a, %y : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32> loc("layer")
  func.return %b : tensor<4x8xf32> loc("layer")
}
