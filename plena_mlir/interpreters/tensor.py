"""Run plena_tensor IR on torch: the golden reference, and the evaluator of weight expressions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IndexType, IntegerAttr, ModuleOp
from xdsl.interpreter import Interpreter, InterpreterFunctions, PythonValues, impl, register_impls
from xdsl.interpreters.arith import ArithFunctions
from xdsl.interpreters.func import FuncFunctions
from xdsl.interpreters.scf import ScfFunctions
from xdsl.ir import BlockArgument, Operation, OpResult, SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import find_function
from plena_mlir.errors import LoweringError, PlenaError
from plena_mlir.golden_precision import GoldenPrecision, parse_golden_precision
from plena_mlir.interpreters.tensor_hardware import StepObserver
from plena_mlir.interpreters.tensor_kernels import KERNELS, call_kernel, torch_dtype
from plena_mlir.interpreters.tensor_weights import Arithmetic, LazyWeight, Memo, Store, as_tensor, load_parameter
from plena_mlir.target import Target

Array = NDArray[Any]
MAX_THREADS = 2

Observer = Callable[[Operation, Array], "Array | None"]
"""Sees the value of every op on activations, and may give another one that the ops after it see instead."""

Watcher = Callable[[Operation, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]
"""Sees the values of every op on activations, one for each precision, and gives those that the ops after it see."""


def _functions(arithmetics: Sequence[Arithmetic], store: Store, watch: Watcher | None) -> InterpreterFunctions:
    """xDSL interpreter functions on activations that are tuples, with one value for each of `arithmetics`."""

    def run(_self: InterpreterFunctions, _interpreter: Interpreter, op: Operation, args: PythonValues) -> PythonValues:
        if all(isinstance(arg, LazyWeight) for arg in args):
            return (LazyWeight.of_op(op, args),)
        # One precision needs each weight once, and then the less is kept the better.
        memo: Memo | None = {} if len(arithmetics) > 1 else None

        def operand(arg: Any, number: int) -> Any:
            if isinstance(arg, LazyWeight):
                return arg.value(arithmetics[number], memo)
            return arg[number] if isinstance(arg, tuple) else arg

        values = tuple(
            call_kernel(arithmetic.activations, op, tuple(operand(arg, number) for arg in args))
            for number, arithmetic in enumerate(arithmetics)
        )
        return (values if watch is None else watch(op, values),)

    def parameter(_self: InterpreterFunctions, _interpreter: Interpreter, op: pt.ParameterOp, args: PythonValues) -> PythonValues:
        layer = args[0] if args else None
        return (LazyWeight(frozenset(), lambda _arithmetic, _memo: load_parameter(op, layer, store)),)

    methods: dict[str, Any] = {f"run_{op_type.__name__}": impl(op_type)(run) for op_type in KERNELS}
    methods["run_parameter"] = impl(pt.ParameterOp)(parameter)
    return register_impls(type("TensorFunctions", (InterpreterFunctions,), methods))()


@contextmanager
def _few_threads() -> Generator[None]:
    """At most two torch threads: more than the cores that tests share costs a hundredfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, MAX_THREADS))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _arguments(function: func.FuncOp, inputs: Mapping[str, Array] | Sequence[Array]) -> list[torch.Tensor]:
    """The inputs in order, as tensors of the argument types."""
    arguments = function.body.block.args
    names = [argument.name_hint or f"arg{index}" for index, argument in enumerate(arguments)]
    where = f"@{function.sym_name.data}"
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise LoweringError(f"inputs {sorted(inputs)} given, {sorted(names)} wanted", where=where)
        inputs = [inputs[name] for name in names]
    if len(inputs) != len(arguments):
        raise LoweringError(f"{len(inputs)} inputs given, {len(arguments)} wanted ({', '.join(names)})", where=where)
    tensors: list[torch.Tensor] = []
    for name, argument, values in zip(names, arguments, inputs, strict=True):
        if tuple(values.shape) != pt.shape_of(argument):
            raise LoweringError(f"input has shape {values.shape}, not {pt.shape_of(argument)}", where=f"{where} {name}")
        tensors.append(as_tensor(values, torch_dtype(pt.element_of(argument))))
    return tensors


def run_tensor(
    module: ModuleOp,
    inputs: Mapping[str, Array] | Sequence[Array],
    store: Store,
    *,
    precision: str | GoldenPrecision = "fp32",
    target: Target | None = None,
    function: str = "main",
    observe: Observer | None = None,
    observe_steps: StepObserver | None = None,
) -> list[Array]:
    """Execute a function of a plena_tensor module.

    Args:
        inputs: one array per argument, in order or by name.
        store: where `parameter` ops read.
        precision: what of the machine is imitated, or its name: "fp32" ignores quantize ops and rounds nothing below float32;
            "hardware" quantizes as the image does and rounds to bfloat16 as the machine does; others as `GoldenPrecision` says.
            What has `accumulation`, as "hardware" has, runs the canonical form only.
        target: the machine whose number formats apply; by default those of every preset.
        observe: sees the value of every op on activations, and may replace it.
        observe_steps: the same for the steps within an op, which exist with `accumulation` only.

    Raises:
        LoweringError: no such function, inputs that do not match it, or an op that cannot be run.
        TargetError: no such precision.
    """

    def watch(op: Operation, values: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (value,) = values
        replacement = None if observe is None else observe(op, value.numpy())
        return values if replacement is None else (as_tensor(replacement.reshape(value.shape), value.dtype),)

    arithmetic = Arithmetic.of(parse_golden_precision(precision), target, observe_steps)
    return _run(module, inputs, store, (arithmetic,), function, None if observe is None else watch)[0]


def run_precisions(
    module: ModuleOp,
    inputs: Mapping[str, Array] | Sequence[Array],
    store: Store,
    golden_precisions: Sequence[GoldenPrecision],
    *,
    target: Target | None = None,
    function: str = "main",
    observe: Callable[[Operation, Sequence[Array]], None] | None = None,
) -> list[list[Array]]:
    """Execute a function in several precisions side by side, with the bits that `run_tensor` gives in each.

    Every weight is read once for all of them, and quantized once, which for short sequences is most of the work.

    Args:
        observe: sees the values of every op on activations, in the order of `golden_precisions`.

    Returns:
        The results, by precision.

    Raises:
        LoweringError: as `run_tensor`.
    """

    def watch(op: Operation, values: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        assert observe is not None
        observe(op, [value.numpy() for value in values])
        return values

    arithmetics = [Arithmetic.of(precision, target) for precision in golden_precisions]
    return _run(module, inputs, store, arithmetics, function, None if observe is None else watch)


def _run(
    module: ModuleOp,
    inputs: Mapping[str, Array] | Sequence[Array],
    store: Store,
    arithmetics: Sequence[Arithmetic],
    function: str,
    watch: Watcher | None,
) -> list[list[Array]]:
    """The results of a function, by arithmetic."""
    main = find_function(module, function)
    interpreter = Interpreter(module)
    for functions in (_functions(arithmetics, store, watch), ArithFunctions(), ScfFunctions(), FuncFunctions()):
        interpreter.register_implementations(functions)
    with _few_threads(), torch.no_grad():
        try:
            arguments = tuple((argument,) * len(arithmetics) for argument in _arguments(main, inputs))
            results = interpreter.run_ssacfg_region(main.body, arguments, function)
            return [
                [
                    np.array((result.value(arithmetic) if isinstance(result, LazyWeight) else result[number]).numpy())
                    for result in results
                ]
                for number, arithmetic in enumerate(arithmetics)
            ]
        except PlenaError as error:
            # xDSL attaches the whole module as a note; the message already says where.
            error.__notes__ = []
            raise


def evaluate_weight(value: SSAValue, store: Store, layer: int | None = None) -> Array:
    """The float32 values of an SSA value that depends on parameters and constants only.

    Works anywhere in a module: inside the loop over layers and in functions that took a layer index, every `index` block
    argument stands for `layer`. Quantize ops are transparent; the image writer encodes what comes out.

    Raises:
        LoweringError: the value depends on an activation, or on a layer index that was not given.
    """
    with _few_threads(), torch.no_grad():
        return np.array(_evaluate(value, store, layer, {}).numpy())


def _evaluate(value: SSAValue, store: Store, layer: int | None, known: dict[SSAValue, torch.Tensor]) -> torch.Tensor:
    if value not in known:
        known[value] = _evaluate_once(value, store, layer, known)
    return known[value]


def _layer_index(value: SSAValue, layer: int | None) -> int:
    """The integer that an index operand stands for."""
    if isinstance(value, OpResult) and isinstance(value.op, arith.ConstantOp) and isinstance(value.op.value, IntegerAttr):
        return value.op.value.value.data
    if isinstance(value, OpResult) and isinstance(value.op, arith.AddiOp):
        return sum(_layer_index(operand, layer) for operand in value.op.operands)
    if isinstance(value, BlockArgument) and isinstance(value.type, IndexType) and layer is not None:
        return layer
    raise LoweringError("a weight depends on a layer index that is not known here")


def _evaluate_once(value: SSAValue, store: Store, layer: int | None, known: dict[SSAValue, torch.Tensor]) -> torch.Tensor:
    if not isinstance(value, OpResult):
        raise LoweringError(f"the value {value.name_hint or value.type} is an activation, not a weight")
    op = value.op
    if isinstance(op, pt.ParameterOp):
        return load_parameter(op, None if op.layer is None else _layer_index(op.layer, layer), store)
    if isinstance(op, scf.ForOp):
        raise LoweringError("the result of a loop over layers is an activation, not a weight")
    operands = [
        _layer_index(operand, layer) if isinstance(operand.type, IndexType) else _evaluate(operand, store, layer, known)
        for operand in op.operands
    ]
    return call_kernel(KERNELS, op, tuple(operands))
