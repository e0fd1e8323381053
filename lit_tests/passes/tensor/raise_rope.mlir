// RUN: plena-opt %s -p raise-rope | filecheck %s

// Hugging Face's apply_rotary_pos_emb on [1, heads, rows, d]; one reshape of each table serves both uses.
// CHECK-LABEL: func.func @full
// CHECK-NEXT:    %cos = plena_tensor.parameter "const.0" : tensor<1x1x5x4xf32>
// CHECK-NEXT:    %[[C:.*]] = plena_tensor.reshape %cos : tensor<1x1x5x4xf32> -> tensor<5x4xf32>
// CHECK-NEXT:    %sin = plena_tensor.parameter "const.1" : tensor<1x1x5x4xf32>
// CHECK-NEXT:    %[[S:.*]] = plena_tensor.reshape %sin : tensor<1x1x5x4xf32> -> tensor<5x4xf32>
// CHECK-NEXT:    %[[P:.*]] = plena_tensor.permute %x {perm = array<i64: 0, 2, 1, 3>} : tensor<1x2x5x4xf32> -> tensor<1x5x2x4xf32>
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %[[P]] : tensor<1x5x2x4xf32> -> tensor<5x8xf32>
// CHECK-NEXT:    %[[Y:.*]] = plena_tensor.rope %[[R]], %[[C]], %[[S]] {heads = 2 : i64} : (tensor<5x8xf32>, tensor<5x4xf32>, tensor<5x4xf32>)
// CHECK-NEXT:    %[[H:.*]] = plena_tensor.reshape %[[Y]] : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
// CHECK-NEXT:    plena_tensor.permute %[[H]] {perm = array<i64: 0, 2, 1, 3>} : tensor<1x5x2x4xf32> -> tensor<1x2x5x4xf32>
// CHECK:         plena_tensor.rope %{{.*}}, %[[C]], %[[S]] {heads = 1 : i64}
func.func @full(%x : tensor<1x2x5x4xf32>, %z : tensor<1x1x5x4xf32>) -> (tensor<1x2x5x4xf32>, tensor<1x1x5x4xf32>) {
  %cos = plena_tensor.parameter "const.0" : tensor<1x1x5x4xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<1x1x5x4xf32>
  %xc = plena_tensor.mul %x, %cos : tensor<1x2x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x2x5x4xf32>
  %x0 = plena_tensor.slice %x {dim = 3 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %x1 = plena_tensor.slice %x {dim = 3 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %xn = plena_tensor.neg %x1 : tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %xr = plena_tensor.concat %xn, %x0 {dim = -1 : i64} : (tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32>) -> tensor<1x2x5x4xf32>
  %xs = plena_tensor.mul %xr, %sin : tensor<1x2x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x2x5x4xf32>
  %xe = plena_tensor.add %xc, %xs : tensor<1x2x5x4xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  %zc = plena_tensor.mul %cos, %z : tensor<1x1x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x1x5x4xf32>
  %z0 = plena_tensor.slice %z {dim = -1 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x1x5x4xf32> -> tensor<1x1x5x2xf32>
  %z1 = plena_tensor.slice %z {dim = -1 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x1x5x4xf32> -> tensor<1x1x5x2xf32>
  %zn = plena_tensor.neg %z1 : tensor<1x1x5x2xf32> -> tensor<1x1x5x2xf32>
  %zr = plena_tensor.concat %zn, %z0 {dim = 3 : i64} : (tensor<1x1x5x2xf32>, tensor<1x1x5x2xf32>) -> tensor<1x1x5x4xf32>
  %zs = plena_tensor.mul %sin, %zr : tensor<1x1x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x1x5x4xf32>
  %ze = plena_tensor.add %zs, %zc : tensor<1x1x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x1x5x4xf32>
  func.return %xe, %ze : tensor<1x2x5x4xf32>, tensor<1x1x5x4xf32>
}

// Only the first two of four lanes turn.
// CHECK-LABEL: func.func @partial
// CHECK:         plena_tensor.rope %{{.*}}, %{{.*}}, %{{.*}} {heads = 2 : i64} : (tensor<5x8xf32>, tensor<5x2xf32>, tensor<5x2xf32>) -> tensor<5x8xf32>
// CHECK-NOT:     plena_tensor.concat
func.func @partial(%x : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %cos = plena_tensor.parameter "const.0" : tensor<1x1x5x2xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<1x1x5x2xf32>
  %t = plena_tensor.slice %x {dim = 3 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %rest = plena_tensor.slice %x {dim = 3 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %tc = plena_tensor.mul %t, %cos : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %t0 = plena_tensor.slice %t {dim = 3 : i64, start = 0 : i64, end = 1 : i64, step = 1 : i64} : tensor<1x2x5x2xf32> -> tensor<1x2x5x1xf32>
  %t1 = plena_tensor.slice %t {dim = 3 : i64, start = 1 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x2x5x2xf32> -> tensor<1x2x5x1xf32>
  %tn = plena_tensor.neg %t1 : tensor<1x2x5x1xf32> -> tensor<1x2x5x1xf32>
  %tr = plena_tensor.concat %tn, %t0 {dim = -1 : i64} : (tensor<1x2x5x1xf32>, tensor<1x2x5x1xf32>) -> tensor<1x2x5x2xf32>
  %ts = plena_tensor.mul %tr, %sin : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %te = plena_tensor.add %tc, %ts : tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %y = plena_tensor.concat %te, %rest {dim = -1 : i64} : (tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32>) -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}

// The wrong half is negated: not a rotation.
// CHECK-LABEL: func.func @other_sign
// CHECK-NOT:     plena_tensor.rope
// CHECK:         func.return
func.func @other_sign(%x : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %cos = plena_tensor.parameter "const.0" : tensor<1x1x5x4xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<1x1x5x4xf32>
  %xc = plena_tensor.mul %x, %cos : tensor<1x2x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x2x5x4xf32>
  %x0 = plena_tensor.slice %x {dim = 3 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %x1 = plena_tensor.slice %x {dim = 3 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %xn = plena_tensor.neg %x0 : tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %xr = plena_tensor.concat %xn, %x1 {dim = -1 : i64} : (tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32>) -> tensor<1x2x5x4xf32>
  %xs = plena_tensor.mul %xr, %sin : tensor<1x2x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x2x5x4xf32>
  %xe = plena_tensor.add %xc, %xs : tensor<1x2x5x4xf32>, tensor<1x2x5x4xf32> -> tensor<1x2x5x4xf32>
  func.return %xe : tensor<1x2x5x4xf32>
}

// GPT-J turns [1, rows, heads, d], with one row of the table for each row: [1, rows, 1, d].
// CHECK-LABEL: func.func @rows_first
// CHECK:         %[[C:.*]] = plena_tensor.reshape %cos : tensor<1x5x1x4xf32> -> tensor<5x4xf32>
// CHECK:         %[[S:.*]] = plena_tensor.reshape %sin : tensor<1x5x1x4xf32> -> tensor<5x4xf32>
// CHECK-NEXT:    %[[R:.*]] = plena_tensor.reshape %x : tensor<1x5x2x4xf32> -> tensor<5x8xf32>
// CHECK-NEXT:    %[[Y:.*]] = plena_tensor.rope %[[R]], %[[C]], %[[S]] {heads = 2 : i64}
// CHECK-NEXT:    plena_tensor.reshape %[[Y]] : tensor<5x8xf32> -> tensor<1x5x2x4xf32>
func.func @rows_first(%x : tensor<1x5x2x4xf32>) -> tensor<1x5x2x4xf32> {
  %cos = plena_tensor.parameter "const.0" : tensor<1x5x1x4xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<1x5x1x4xf32>
  %c = plena_tensor.mul %x, %cos : tensor<1x5x2x4xf32>, tensor<1x5x1x4xf32> -> tensor<1x5x2x4xf32>
  %a = plena_tensor.slice %x {dim = 3 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x5x2x4xf32> -> tensor<1x5x2x2xf32>
  %b = plena_tensor.slice %x {dim = 3 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x5x2x4xf32> -> tensor<1x5x2x2xf32>
  %n = plena_tensor.neg %b : tensor<1x5x2x2xf32> -> tensor<1x5x2x2xf32>
  %r = plena_tensor.concat %n, %a {dim = 3 : i64} : (tensor<1x5x2x2xf32>, tensor<1x5x2x2xf32>) -> tensor<1x5x2x4xf32>
  %s = plena_tensor.mul %r, %sin : tensor<1x5x2x4xf32>, tensor<1x5x1x4xf32> -> tensor<1x5x2x4xf32>
  %y = plena_tensor.add %c, %s : tensor<1x5x2x4xf32>, tensor<1x5x2x4xf32> -> tensor<1x5x2x4xf32>
  func.return %y : tensor<1x5x2x4xf32>
}

// The two halves turned one by one, with tables of half the width, which are doubled once for all uses.
// CHECK-LABEL: func.func @halves
// CHECK-DAG:     %[[C:.*]] = plena_tensor.concat %cos, %cos {dim = 3 : i64} : (tensor<1x1x5x2xf32>, tensor<1x1x5x2xf32>) -> tensor<1x1x5x4xf32>
// CHECK-DAG:     %[[S:.*]] = plena_tensor.concat %sin, %sin {dim = 3 : i64}
// CHECK-DAG:     %[[CR:.*]] = plena_tensor.reshape %[[C]] : tensor<1x1x5x4xf32> -> tensor<5x4xf32>
// CHECK-DAG:     %[[SR:.*]] = plena_tensor.reshape %[[S]] : tensor<1x1x5x4xf32> -> tensor<5x4xf32>
// CHECK:         plena_tensor.rope %{{.*}}, %[[CR]], %[[SR]] {heads = 2 : i64}
// CHECK:         func.return
func.func @halves(%x : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %cos = plena_tensor.parameter "const.0" : tensor<1x1x5x2xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<1x1x5x2xf32>
  %a = plena_tensor.slice %x {dim = 3 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %b = plena_tensor.slice %x {dim = 3 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %ac = plena_tensor.mul %a, %cos : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %bs = plena_tensor.mul %b, %sin : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %first = plena_tensor.sub %ac, %bs : tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %bc = plena_tensor.mul %b, %cos : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %as = plena_tensor.mul %a, %sin : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %second = plena_tensor.add %bc, %as : tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %y = plena_tensor.concat %first, %second {dim = -1 : i64} : (tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32>) -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}

// With the tables the other way round in the second half it is no rotation.
// CHECK-LABEL: func.func @no_rotation
// CHECK-NOT:     plena_tensor.rope
// CHECK:         func.return
func.func @no_rotation(%x : tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %cos = plena_tensor.parameter "const.0" : tensor<1x1x5x2xf32>
  %sin = plena_tensor.parameter "const.1" : tensor<1x1x5x2xf32>
  %a = plena_tensor.slice %x {dim = 3 : i64, start = 0 : i64, end = 2 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %b = plena_tensor.slice %x {dim = 3 : i64, start = 2 : i64, end = 4 : i64, step = 1 : i64} : tensor<1x2x5x4xf32> -> tensor<1x2x5x2xf32>
  %ac = plena_tensor.mul %a, %cos : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %bs = plena_tensor.mul %b, %sin : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %first = plena_tensor.sub %ac, %bs : tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %bt = plena_tensor.mul %b, %sin : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %at = plena_tensor.mul %a, %cos : tensor<1x2x5x2xf32>, tensor<1x1x5x2xf32> -> tensor<1x2x5x2xf32>
  %second = plena_tensor.add %bt, %at : tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32> -> tensor<1x2x5x2xf32>
  %y = plena_tensor.concat %first, %second {dim = -1 : i64} : (tensor<1x2x5x2xf32>, tensor<1x2x5x2xf32>) -> tensor<1x2x5x4xf32>
  func.return %y : tensor<1x2x5x4xf32>
}
