// RUN: plena-opt %s -p tile-vram | filecheck %s

// Twenty rows of eight exceed 200 rows of Vector SRAM with all their intermediates; two blocks of eight and a rest of four fit.
// CHECK:       plena.notes = ["Vector SRAM of 200 rows: blocks of 8 rows"]
// CHECK:       func.func @main
// CHECK:         %[[WHOLE:.*]] = plena_tensor.empty_rows : tensor<20x8xf32>
// CHECK:         %[[LOOP:.*]] = scf.for %[[BLOCK:.*]] = %{{.*}} to %{{.*}} step %{{.*}} iter_args(%[[PART:.*]] = %[[WHOLE]]) -> (tensor<20x8xf32>) {
// CHECK-NEXT:      %[[ROWS:.*]] = plena_tensor.take_rows %{{.*}}[%[[BLOCK]]] {block_rows = 8 : i64} : tensor<20x8xf32> -> tensor<8x8xf32>
// CHECK-NEXT:      %{{.*}} = plena_tensor.linear %[[ROWS]], %{{.*}} -> tensor<8x64xf32>
// CHECK:           plena_tensor.put_rows %{{.*}} into %[[PART]][%[[BLOCK]]]
// CHECK:         } {plena.row_blocks}
// CHECK:         plena_tensor.take_rows %{{.*}} : tensor<20x8xf32> -> tensor<4x8xf32>
// CHECK:         %[[LAST:.*]] = plena_tensor.put_rows %{{.*}} into %[[LOOP]]
// CHECK:         func.return %[[LAST]]
builtin.module attributes {plena.target = #plena.target<{name = "8x4x8", mlen = 8 : i64, vlen = 8 : i64, blen = 4 : i64, hlen = 8 : i64, broadcast = 1 : i64, hbm_size = 17179869184 : i64, matrix_sram_rows = 4096 : i64, vector_sram_rows = 200 : i64, prefetch_m_rows = 8 : i64, prefetch_v_rows = 4 : i64, writeback_v_rows = 4 : i64, max_loop_instructions = 100000 : i64, dc_enabled = true, latencies_dc = {systolic_overhead = 0 : i64, vector_longest = 10 : i64, vector_basic = 1 : i64, vector_add = 1 : i64, vector_mul = 1 : i64, vector_exp = 1 : i64, vector_prefix_scan = 9 : i64, vector_shift = 1 : i64, vector_reci = 2 : i64, vector_max = 4 : i64, vector_sum = 8 : i64, scalar_fp_longest = 4 : i64, scalar_fp_basic = 1 : i64, scalar_fp_exp = 1 : i64, scalar_fp_sqrt = 1 : i64, scalar_fp_reci = 1 : i64, scalar_int_basic = 1 : i64}, latencies_no_dc = {systolic_overhead = 0 : i64, vector_longest = 20 : i64, vector_basic = 2 : i64, vector_add = 2 : i64, vector_mul = 5 : i64, vector_exp = 6 : i64, vector_prefix_scan = 9 : i64, vector_shift = 1 : i64, vector_reci = 7 : i64, vector_max = 4 : i64, vector_sum = 20 : i64, scalar_fp_longest = 4 : i64, scalar_fp_basic = 1 : i64, scalar_fp_exp = 2 : i64, scalar_fp_sqrt = 2 : i64, scalar_fp_reci = 2 : i64, scalar_int_basic = 1 : i64}, precisions = {matrix_sram = "bf16", vector_sram = "bf16", m_weight = "mxfp8_e4m3", m_kv = "mxfp8_e4m3", v_act = "mxfp8_e4m3", v_kv = "mxfp8_e4m3", v_int = "int32", scalar = "bf16"}, numerics = "plena"}>} {
  func.func @main(%x : tensor<20x8xf32>) -> tensor<20x8xf32> {
    %staged = plena_tensor.quantize %x {format = "act", terms = 1 : i64} : tensor<20x8xf32> -> tensor<20x8xf32>
    %up = plena_tensor.parameter "up" : tensor<64x8xf32>
    %up_stored = plena_tensor.quantize %up {format = "weight", terms = 1 : i64} : tensor<64x8xf32> -> tensor<64x8xf32>
    %down = plena_tensor.parameter "down" : tensor<8x64xf32>
    %down_stored = plena_tensor.quantize %down {format = "weight", terms = 1 : i64} : tensor<8x64xf32> -> tensor<8x64xf32>
    %wide = plena_tensor.linear %staged, %up_stored : (tensor<20x8xf32>, tensor<64x8xf32>) -> tensor<20x64xf32>
    %active = plena_tensor.silu %wide : tensor<20x64xf32> -> tensor<20x64xf32>
    %narrow = plena_tensor.linear %active, %down_stored : (tensor<20x64xf32>, tensor<8x64xf32>) -> tensor<20x8xf32>
    func.return %narrow : tensor<20x8xf32>
  }
}
