// RUN: plena-opt %s --target 8x4x4 -p convert-tensor-to-tile --split-input-file --verify-diagnostics | filecheck %s
// RUN: plena-opt %s --target 8x4x4 -p 'convert-tensor-to-tile{strategy="micro"}' --split-input-file --verify-diagnostics | filecheck %s --check-prefix=MICRO

// Weights become globals, each with the function that computes it; the rest of the function becomes loops over rows.
// The broadcast form's 1/4 is undone in the scales of the tiles; bias and gain are two MX terms, padded to what a fetch moves.
// CHECK:         plena.output = {rows = 5 : i64, groups = 1 : i64, size = 12 : i64, padded = 16 : i64}
// CHECK-DAG:     plena_tile.global "w" {{.*}}memref<2x2x8x8x{{.*}}precision weight{{.*}} role = "weight", init = @init.w, layout = #plena_tile.layout<"tiles", #builtin.int<12>, #builtin.int<16>, #builtin.int<12>, #builtin.int<16>, #builtin.int<1>, #builtin.int<2>, false
// CHECK-DAG:     plena_tile.global "b" {{.*}}memref<2x2x2x8x{{.*}}precision act{{.*}} init = @init.b
// CHECK-DAG:     plena_tile.global "input" {{.*}}memref<2x8x8x{{.*}}precision act{{.*}} role = "input", layout
// CHECK-DAG:     func.func private @init.w() -> tensor<12x12xf32>
// CHECK:         func.func @main() {
// CHECK:           plena_tile.load_rows
// CHECK:           plena_tile.matmul %{{.*}}, %{{.*}} -> %[[Y:.*]] {strategy = #plena_tile<strategy broadcast>, transposed}
// CHECK:           plena_tile.row_binary add
// CHECK:           plena_tile.row_reduce sum
// CHECK:           plena_tile.scalar_unary sqrt
// CHECK:           plena_tile.row_unary exp
// CHECK:           plena_tile.row_unary reciprocal
// CHECK-NOT:       plena_tensor.linear
// MICRO:         plena_tile.global "w" {{.*}} #builtin.int<1>, #builtin.int<0>, false
// MICRO:         plena_tile.matmul {{.*}} {strategy = #plena_tile<strategy micro>, transposed}
func.func @main(%x : tensor<5x12xf32>) -> tensor<5x12xf32> {
  %xq = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<5x12xf32> -> tensor<5x12xf32>
  %w = plena_tensor.parameter "w" : tensor<12x12xf32>
  %wq = plena_tensor.quantize %w {format = "weight", terms = 1 : i64} : tensor<12x12xf32> -> tensor<12x12xf32>
  %b = plena_tensor.parameter "b" : tensor<12xf32>
  %bq = plena_tensor.quantize %b {format = "exact", terms = 2 : i64} : tensor<12xf32> -> tensor<12xf32>
  %y = plena_tensor.linear %xq, %wq, %bq : (tensor<5x12xf32>, tensor<12x12xf32>, tensor<12xf32>) -> tensor<5x12xf32>
  %n = plena_tensor.rms_norm %y {eps = 1.0e-05 : f64} : (tensor<5x12xf32>) -> tensor<5x12xf32>
  %s = plena_tensor.silu %n : tensor<5x12xf32> -> tensor<5x12xf32>
  func.return %s : tensor<5x12xf32>
}

// -----

// A loop over layers keeps one buffer for what it carries; its weights are stacked, its functions take the layer.
// CHECK:         func.func private @"init.l.{}.w"(%{{.*}}: index) -> tensor<8x8xf32>
// CHECK:         func.func @main() {
// CHECK:           %[[HOME:.*]] = plena_tile.alloc {role = "output"}
// CHECK:           %[[LAYERS:.*]] = arith.constant 3 : index
// CHECK:           scf.for %[[L:.*]] = %{{.*}} to %[[LAYERS]] step
// CHECK:             plena_tile.view %{{.*}} affine_map<(d0) -> (d0, 0, 0, 0, 0)>(%[[L]]) : memref<3x1x1x8x8x
// CHECK:             plena_tile.matmul %[[HOME]]
// CHECK:             plena_tile.row_binary add
// CHECK-NOT:         plena_tile.row_binary
// CHECK:           func.return
func.func @main(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %xq = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<4x8xf32> -> tensor<4x8xf32>
  %c0 = arith.constant 0 : index
  %c3 = arith.constant 3 : index
  %c1 = arith.constant 1 : index
  %r = scf.for %l = %c0 to %c3 step %c1 iter_args(%s = %xq) -> (tensor<4x8xf32>) {
    %w = plena_tensor.parameter "l.{}.w" [%l] : tensor<8x8xf32>
    %wq = plena_tensor.quantize %w {format = "weight", terms = 1 : i64} : tensor<8x8xf32> -> tensor<8x8xf32>
    %y = plena_tensor.linear %s, %wq : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
    %z = plena_tensor.add %s, %y : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
    scf.yield %z : tensor<4x8xf32>
  }
  func.return %r : tensor<4x8xf32>
}

// -----

// CHECK: slice): only rows of an activation can be taken
func.func @main(%x : tensor<4x8xf32>) -> tensor<4x4xf32> {
  %xq = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<4x8xf32> -> tensor<4x8xf32>
  %s = plena_tensor.slice %xq {dim = 1 : i64, start = 0 : i64, end = 4 : i64, step = 1 : i64} : tensor<4x8xf32> -> tensor<4x4xf32>
  func.return %s : tensor<4x4xf32>
}

// -----

// CHECK: tanh): no lowering to tiles exists for this op
func.func @main(%x : tensor<4x8xf32>) -> tensor<4x8xf32> {
  %xq = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<4x8xf32> -> tensor<4x8xf32>
  %s = plena_tensor.tanh %xq : tensor<4x8xf32> -> tensor<4x8xf32>
  func.return %s : tensor<4x8xf32>
}

// -----

// The experts of a row come from V_TOPK; the index it left addresses the tiles of the chosen one in the stack of all.
// CHECK-DAG:     plena_tile.global "up" {{.*}}memref<12x1x8x8x{{.*}}layout = #plena_tile.layout<"tiles", #builtin.int<12>, #builtin.int<16>,
// CHECK:         func.func @main() {
// CHECK:           %[[L:.*]] = plena_tile.alloc : memref<5x4xi32, #plena_tile<space intram>>
// CHECK:           %[[W:.*]] = plena_tile.alloc : memref<5x4xbf16, #plena_tile<space fpram>>
// CHECK:           plena_tile.row_topk {{.*}} {policy = 0 : i64}
// CHECK:           plena_tile.load_scalar
// CHECK:           plena_tile.scalar_unary reciprocal
// CHECK:           plena_tile.store_scalar
// CHECK:           %[[E:.*]] = plena_tile.load_index
// CHECK:           %[[T:.*]] = plena_tile.view %{{.*}} affine_map<(d0) -> ((d0 * 2), 0, 0, 0)>(%[[E]])
// CHECK:           plena_tile.matmul %{{.*}}, %[[T]] -> {{.*}} {strategy = {{.*}}, transposed}
// CHECK:           plena_tile.row_scalar mul
func.func @main(%x : tensor<5x8xf32>) -> tensor<5x12xf32> {
  %xq = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<5x8xf32> -> tensor<5x8xf32>
  %r = plena_tensor.parameter "router" : tensor<6x8xf32>
  %rq = plena_tensor.quantize %r {format = "weight", terms = 1 : i64} : tensor<6x8xf32> -> tensor<6x8xf32>
  %l = plena_tensor.linear %xq, %rq : (tensor<5x8xf32>, tensor<6x8xf32>) -> tensor<5x6xf32>
  %i = plena_tensor.topk %l {k = 2 : i64} : tensor<5x6xf32> -> tensor<5x2xi64>
  %p = plena_tensor.moe_weights %l, %i {normalised = "chosen"} : tensor<5x6xf32>, tensor<5x2xi64> -> tensor<5x2xf32>
  %w = plena_tensor.parameter "up" : tensor<6x12x8xf32>
  %wq = plena_tensor.quantize %w {format = "weight", terms = 1 : i64} : tensor<6x12x8xf32> -> tensor<6x12x8xf32>
  %y = plena_tensor.expert_linear %xq, %wq, %i : (tensor<5x8xf32>, tensor<6x12x8xf32>, tensor<5x2xi64>) -> tensor<10x12xf32>
  %z = plena_tensor.moe_combine %y, %p : tensor<10x12xf32>, tensor<5x2xf32> -> tensor<5x12xf32>
  func.return %z : tensor<5x12xf32>
}

// -----

// An input is staged as it is read: a function arranges what the host is given. Its rows follow a row of weights.
// CHECK:         plena_tile.global "input" {{.*}}memref<1x4x8x{{.*}} role = "input", init = @arrange.image
// CHECK-NEXT:    func.func private @arrange.image(%{{.*}}: tensor<2x2x8xf32>) -> tensor<4x8xf32> {
// CHECK-NEXT:      plena_tensor.permute
// CHECK-NEXT:      plena_tensor.reshape
// CHECK:         func.func @main() {
// CHECK-NOT:       plena_tensor.
func.func @main(%image : tensor<2x2x8xf32>) -> tensor<5x8xf32> {
  %p = plena_tensor.permute %image {perm = array<i64: 1, 0, 2>} : tensor<2x2x8xf32> -> tensor<2x2x8xf32>
  %r = plena_tensor.reshape %p : tensor<2x2x8xf32> -> tensor<4x8xf32>
  %x = plena_tensor.quantize %r {format = "act", terms = 1 : i64} : tensor<4x8xf32> -> tensor<4x8xf32>
  %t = plena_tensor.parameter "token" : tensor<1x8xf32>
  %q = plena_tensor.quantize %t {format = "exact", terms = 2 : i64} : tensor<1x8xf32> -> tensor<1x8xf32>
  %y = plena_tensor.concat %q, %x {dim = 0 : i64} : (tensor<1x8xf32>, tensor<4x8xf32>) -> tensor<5x8xf32>
  func.return %y : tensor<5x8xf32>
}
