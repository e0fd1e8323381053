// RUN: plena-opt %s --split-input-file --verify-diagnostics --parsing-diagnostics | filecheck %s

// The immediate of S_ADDI_INT has 18 bits.
// CHECK: imm = 262144 is outside 0..262143 (18 bits)
%z = plena_isa.get_gp : !plena_isa.gp<gp0>
%0 = plena_isa.s_addi_int %z, 262144 : (!plena_isa.gp<gp0>) -> !plena_isa.gp

// -----

// CHECK: Invalid register name gp16 for register type plena_isa.gp
%0 = plena_isa.get_gp : !plena_isa.gp<gp16>

// -----

// CHECK: operand 'rs1' at position 0 does not verify
%f = plena_isa.get_fp : !plena_isa.fp<f0>
%0 = plena_isa.s_addi_int %f, 1 : (!plena_isa.fp<f0>) -> !plena_isa.gp

// -----

// CHECK: `plena_isa.v_red_sum`: {{.*}}V_RED_SUM reads and writes one register, but its operand is in !plena_isa.fp<f1> and its result in !plena_isa.fp<f2>
%f, %g = "test.op"() : () -> (!plena_isa.fp<f1>, !plena_isa.gp)
%0 = plena_isa.v_red_sum %f, %g : (!plena_isa.fp<f1>, !plena_isa.gp) -> !plena_isa.fp<f2>

// -----

// CHECK: trip count 0 is outside 1..4194303
plena_isa.loop 0 {
^bb0(%c : !plena_isa.gp):
}

// -----

// CHECK: loop-carried value 0 must stay in one register
%p = "test.op"() : () -> !plena_isa.gp<gp1>
%r = plena_isa.loop 2 iter_args(%p) : (!plena_isa.gp<gp1>) -> !plena_isa.gp<gp2> {
^bb0(%c : !plena_isa.gp<gp3>, %q : !plena_isa.gp<gp1>):
  plena_isa.yield %q : !plena_isa.gp<gp1>
}

// -----

// CHECK: word 4294967296 is outside 0..4294967295 (32 bits)
plena_isa.word 4294967296

// -----

// CHECK: blen
builtin.module attributes {plena.target = #plena.target<{name = "8x4x4", blen = 3 : i64}>} {
}
