// RUN: plena-opt %s --split-input-file | filecheck %s
// RUN: plena-opt %s --split-input-file --print-op-generic | plena-opt --split-input-file | filecheck %s

// Constants and fixed registers.

%z = plena_isa.get_gp : !plena_isa.gp<gp0>
%f = plena_isa.get_fp : !plena_isa.fp<f0>
%a = plena_isa.get_addr : !plena_isa.addr<a3>
%c = plena_isa.li 4294967295 : !plena_isa.gp
plena_isa.word 4294967295
// CHECK:      %z = plena_isa.get_gp : !plena_isa.gp<gp0>
// CHECK-NEXT: %f = plena_isa.get_fp : !plena_isa.fp<f0>
// CHECK-NEXT: %a = plena_isa.get_addr : !plena_isa.addr<a3>
// CHECK-NEXT: %c = plena_isa.li 4294967295 : !plena_isa.gp
// CHECK-NEXT: plena_isa.word 4294967295

// -----

// A loop that carries a pointer and adds run-time trips, around one that carries nothing.

%p, %x = "test.op"() : () -> (!plena_isa.gp, !plena_isa.gp)
%r = plena_isa.loop 5 iter_args(%p) extra(%x) : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp {
^bb0(%i : !plena_isa.gp, %q : !plena_isa.gp):
  plena_isa.loop 3 {
  ^bb0(%j : !plena_isa.gp):
    plena_isa.m_mm %q, %j : (!plena_isa.gp, !plena_isa.gp) -> ()
  }
  %n = plena_isa.s_addi_int %q, 64 : (!plena_isa.gp) -> !plena_isa.gp
  plena_isa.yield %n : !plena_isa.gp
}
// CHECK:      %r = plena_isa.loop 5 iter_args(%p) extra(%x) : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.gp {
// CHECK-NEXT: ^bb0(%i: !plena_isa.gp, %q: !plena_isa.gp):
// CHECK-NEXT:   plena_isa.loop 3 {
// CHECK-NEXT:   ^bb0(%j: !plena_isa.gp):
// CHECK-NEXT:     plena_isa.m_mm %q, %j : (!plena_isa.gp, !plena_isa.gp) -> ()
// CHECK-NEXT:   }
// CHECK-NEXT:   %n = plena_isa.s_addi_int %q, 64 : (!plena_isa.gp) -> !plena_isa.gp
// CHECK-NEXT:   plena_isa.yield %n : !plena_isa.gp
// CHECK-NEXT: }
