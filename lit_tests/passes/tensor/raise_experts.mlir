// RUN: plena-opt %s -p raise-experts --split-input-file | filecheck %s

// Every token times the matrices of the two experts it chose: the rows are taken before their repetition, the sum is a combination.
// CHECK-LABEL: func.func @main
// CHECK:         %[[X:.*]] = plena_tensor.reshape %{{.*}} : tensor<3x1x4xf32> -> tensor<3x4xf32>
// CHECK:         %[[Y:.*]] = plena_tensor.expert_linear %[[X]], %w, %ids : (tensor<3x4xf32>, tensor<6x5x4xf32>, tensor<3x2xi64>) -> tensor<6x5xf32>
// CHECK:         plena_tensor.moe_combine %[[Y]], %p : tensor<6x5xf32>, tensor<3x2xf32> -> tensor<3x5xf32>
// CHECK-NOT:     plena_tensor.index_select
func.func @main(%x : tensor<3x4xf32>, %ids : tensor<3x2xi64>, %p : tensor<3x2xf32>) -> tensor<3x5xf32> {
  %w = plena_tensor.parameter "w" : tensor<6x5x4xf32>
  %flat = plena_tensor.reshape %ids : tensor<3x2xi64> -> tensor<6xi64>
  %s = plena_tensor.index_select %w, %flat : tensor<6x5x4xf32>, tensor<6xi64> -> tensor<6x5x4xf32>
  %apart = plena_tensor.reshape %x : tensor<3x4xf32> -> tensor<3x1x4xf32>
  %spread = plena_tensor.expand %apart : tensor<3x1x4xf32> -> tensor<3x2x4xf32>
  %column = plena_tensor.reshape %spread : tensor<3x2x4xf32> -> tensor<6x4x1xf32>
  %m = plena_tensor.matmul %s, %column : tensor<6x5x4xf32>, tensor<6x4x1xf32> -> tensor<6x5x1xf32>
  %y = plena_tensor.reshape %m : tensor<6x5x1xf32> -> tensor<6x5xf32>
  %pc = plena_tensor.reshape %p : tensor<3x2xf32> -> tensor<6x1xf32>
  %z = plena_tensor.mul %y, %pc : tensor<6x5xf32>, tensor<6x1xf32> -> tensor<6x5xf32>
  %split = plena_tensor.reshape %z : tensor<6x5xf32> -> tensor<3x2x5xf32>
  %sum = plena_tensor.sum %split {dims = array<i64: 1>} : tensor<3x2x5xf32> -> tensor<3x5xf32>
  func.return %sum : tensor<3x5xf32>
}

// -----

// Rows times matrices stored the other way round, and a bias of every expert.
// CHECK-LABEL: func.func @transposed
// CHECK:         %[[W:.*]] = plena_tensor.permute %w {perm = array<i64: 0, 2, 1>}
// CHECK:         plena_tensor.expert_linear %{{.*}}, %[[W]], %ids, %b : (tensor<6x4xf32>, tensor<6x5x4xf32>, tensor<3x2xi64>, tensor<6x5xf32>)
func.func @transposed(%x : tensor<6x4xf32>, %ids : tensor<3x2xi64>) -> tensor<6x5xf32> {
  %w = plena_tensor.parameter "w" : tensor<6x4x5xf32>
  %b = plena_tensor.parameter "b" : tensor<6x5xf32>
  %flat = plena_tensor.reshape %ids : tensor<3x2xi64> -> tensor<6xi64>
  %s = plena_tensor.index_select %w, %flat : tensor<6x4x5xf32>, tensor<6xi64> -> tensor<6x4x5xf32>
  %row = plena_tensor.reshape %x : tensor<6x4xf32> -> tensor<6x1x4xf32>
  %m = plena_tensor.matmul %row, %s : tensor<6x1x4xf32>, tensor<6x4x5xf32> -> tensor<6x1x5xf32>
  %y = plena_tensor.reshape %m : tensor<6x1x5xf32> -> tensor<6x5xf32>
  %sb = plena_tensor.index_select %b, %flat : tensor<6x5xf32>, tensor<6xi64> -> tensor<6x5xf32>
  %z = plena_tensor.add %y, %sb : tensor<6x5xf32>, tensor<6x5xf32> -> tensor<6x5xf32>
  func.return %z : tensor<6x5xf32>
}

// -----

// A bias selected by other choices belongs to another layer.
// CHECK-LABEL: func.func @other_choices
// CHECK:         plena_tensor.expert_linear %{{.*}}, %w, %ids :
// CHECK:         plena_tensor.index_select %b
// CHECK:         plena_tensor.add
func.func @other_choices(%x : tensor<6x4xf32>, %ids : tensor<3x2xi64>, %others : tensor<3x2xi64>) -> tensor<6x5xf32> {
  %w = plena_tensor.parameter "w" : tensor<6x5x4xf32>
  %b = plena_tensor.parameter "b" : tensor<6x5xf32>
  %flat = plena_tensor.reshape %ids : tensor<3x2xi64> -> tensor<6xi64>
  %wrong = plena_tensor.reshape %others : tensor<3x2xi64> -> tensor<6xi64>
  %s = plena_tensor.index_select %w, %flat : tensor<6x5x4xf32>, tensor<6xi64> -> tensor<6x5x4xf32>
  %column = plena_tensor.reshape %x : tensor<6x4xf32> -> tensor<6x4x1xf32>
  %m = plena_tensor.matmul %s, %column : tensor<6x5x4xf32>, tensor<6x4x1xf32> -> tensor<6x5x1xf32>
  %y = plena_tensor.reshape %m : tensor<6x5x1xf32> -> tensor<6x5xf32>
  %sb = plena_tensor.index_select %b, %wrong : tensor<6x5xf32>, tensor<6xi64> -> tensor<6x5xf32>
  %z = plena_tensor.add %y, %sb : tensor<6x5xf32>, tensor<6x5xf32> -> tensor<6x5xf32>
  func.return %z : tensor<6x5xf32>
}
