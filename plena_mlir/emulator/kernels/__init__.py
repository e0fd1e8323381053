"""The semantics of every instruction, written once as compiled functions on arrays of machine state.

The engine calls them from its dispatch loop, the interpreter of `plena_isa` one instruction at a time.
"""
