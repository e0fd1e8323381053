"""`plena-opt`: run passes on IR, as `mlir-opt` and `xdsl-opt` do, with the dialects, passes and output formats of plena-mlir.

Exit status: 0 for success, 1 for a problem with the input, 2 for wrong usage. A problem is one line on stderr; set PLENA_DEBUG=1
for the traceback.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, NoReturn

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.utils.arg_spec import parse_spec
from xdsl.utils.exceptions import ArgSpecParseError, DiagnosticException, ParseError, PassFailedException, VerifyException
from xdsl.xdsl_opt_main import xDSLOptMain

from plena_mlir import __version__
from plena_mlir.cli.console import one_line, print_warning
from plena_mlir.cli.options import add_reference_encoding_option
from plena_mlir.cli.pass_instrumentation import PassInstrumentation
from plena_mlir.dialects import get_all_dialects
from plena_mlir.dialects.plena import TARGET_ATTRIBUTE, set_target, target_of
from plena_mlir.errors import PlenaError, TargetError
from plena_mlir.files import write_file
from plena_mlir.passes import get_all_passes
from plena_mlir.target import Target, load_target
from plena_mlir.universe import get_all_targets

if TYPE_CHECKING:
    from plena_mlir.verify.pass_checks import PassChecker

_PIPELINE = re.compile(r"\s*builtin\.module\s*\((.*)\)\s*", re.DOTALL)


class _UnclosedText(StringIO):
    """Keeps its text when closed, so that the output file can be written once everything has succeeded."""

    def close(self) -> None:
        pass


class PlenaOptMain(xDSLOptMain):
    """xDSL's driver with the PLENA dialects and MLIR's spellings of its options."""

    version_format: ClassVar[str] = f"plena-opt {__version__} (xdsl {{xdsl_version}})"

    def __init__(self, args: Sequence[str] | None = None) -> None:
        self.instrumentation = PassInstrumentation()
        self.machine: Target | None = None
        self.checker: PassChecker | None = None
        self.output_text = _UnclosedText()
        super().__init__("Run passes of plena-mlir and xDSL on MLIR text or assembly (.asm).", args)

    # Registration. The installed package is an xDSL universe already; a checkout that is only on the path is not.

    def register_all_dialects(self) -> None:
        super().register_all_dialects()
        for name, factory in get_all_dialects().items():
            if name not in self.ctx.registered_dialect_names:
                self.ctx.register_dialect(name, factory)

    def register_all_passes(self) -> None:
        super().register_all_passes()
        for name, factory in get_all_passes().items():
            self.available_passes.setdefault(name, factory)

    def register_all_targets(self) -> None:
        super().register_all_targets()
        for name, factory in get_all_targets().items():
            self.available_targets.setdefault(name, factory)

    def register_all_frontends(self) -> None:
        super().register_all_frontends()

        def parse_assembly(io: IO[bytes]) -> ModuleOp:
            from plena_mlir.backend.asm_module import asm_to_module

            reference = self.args.reference_encoding
            warn = None if reference else partial(print_warning, "plena-opt")
            return asm_to_module(io.read().decode(), name=self.get_input_name(), reference_encoding=reference, warn=warn)

        self.available_frontends["asm"] = parse_assembly

    def register_all_arguments(self, arg_parser: argparse.ArgumentParser) -> None:
        arg_parser.prog = "plena-opt"
        arg_parser.epilog = "example: plena-opt --target 8x4x4 -p expand-matmul,plan-memory tile.mlir"
        arg_parser.error = _usage_error
        super().register_all_arguments(arg_parser)
        # xDSL takes `-t` and `--target` for the output format; the long name is the machine here.
        group = arg_parser.add_argument_group("plena-mlir and MLIR options", conflict_handler="resolve")
        group.add_argument(
            "--target",
            dest="machine",
            metavar="T",
            help="machine to compile for, MLENxBLENxHLEN[-ocp] or a plena_settings.toml: sets the module's `plena.target`",
        )
        group.add_argument(
            "--pass-pipeline", metavar="P", help='passes as "builtin.module(pass-a,pass-b{option=1})"; another form of -p'
        )
        group.add_argument("--mlir-print-ir-after-all", action="store_true", help="print the IR after each pass to stderr")
        group.add_argument(
            "--mlir-print-ir-tree-dir", metavar="DIR", type=Path, help="write the IR after each pass to DIR/NN-pass.mlir"
        )
        group.add_argument(
            "--verify-by-execution",
            action="store_true",
            help="run the IR before and after each pass, at every level, on made-up data; it must compute the same",
        )
        group.add_argument(
            "--constants",
            metavar="FILE",
            type=Path,
            help="an .npz file of constants and parameters by name, for passes that read them",
        )
        add_reference_encoding_option(group)
        group.add_argument("--mlir-timing", action="store_true", help="print the time of each pass to stderr")

    def setup_pipeline(self) -> None:
        args = self.args
        if args.pass_pipeline is not None:
            match = _PIPELINE.fullmatch(args.pass_pipeline)
            if args.passes or match is None:
                _usage_error(
                    "--pass-pipeline and -p exclude each other"
                    if args.passes
                    else f"--pass-pipeline must have the form builtin.module(...), not {args.pass_pipeline!r}"
                )
            args.passes = match.group(1).strip()
        if args.mlir_print_ir_tree_dir is not None and args.split_input_file:
            _usage_error("--mlir-print-ir-tree-dir needs one module; do not combine it with --split-input-file")
        if args.machine is not None:
            try:
                self.machine = load_target(args.machine)
            except TargetError as error:
                hint = " (the output format is -t)" if args.machine in self.available_targets else ""
                _usage_error(f"argument --target: {error}{hint}")
        self.instrumentation = PassInstrumentation(args.mlir_print_ir_after_all, args.mlir_print_ir_tree_dir, args.print_debuginfo)
        try:
            super().setup_pipeline()
            self._check_output_format()
        except ValueError as error:
            # Unknown passes, and options that a pass or an output format does not take.
            _usage_error(str(error))
        passes = self.pipeline.passes
        if args.constants is not None:
            from plena_mlir.verify.constants import with_constants

            if not args.constants.is_file():
                _usage_error(f"argument --constants: no such file: {args.constants}")
            passes = tuple(with_constants(step, args.constants) for step in passes)
        self.pipeline = PassPipeline(passes, self._between_passes(self.pipeline))

    def _check_output_format(self) -> None:
        """Refuse options of `-t` before any work.

        Raises:
            ValueError: the output format does not take them.
        """
        spec = parse_spec(self.args.target)
        factory = get_all_targets().get(spec.name)
        if factory is not None:
            factory().from_spec(spec)

    def _between_passes(self, pipeline: PassPipeline):
        """A pipeline callback that instruments the passes around xDSL's own callback."""

        def callback(previous_pass: ModulePass | None, module: ModuleOp, next_pass: ModulePass | None) -> None:
            if previous_pass is not None:
                self.instrumentation.pass_ended(previous_pass)
            # xDSL's callback verifies. What it refuses is what one most wants to see, so the dump comes first.
            if previous_pass is not None:
                self.instrumentation.dump(module, previous_pass, sys.stderr)
            if pipeline.callback is not None:
                pipeline.callback(previous_pass, module, next_pass)
            if self.checker is not None:
                if previous_pass is not None:
                    self.checker.after(previous_pass.name, module)
                else:
                    self.checker.start(module)
            if next_pass is not None:
                self.instrumentation.pass_starts(next_pass)

        return callback

    def parse_chunk(self, chunk: IO[bytes], file_extension: str, start_offset: int = 0) -> ModuleOp | None:
        self.instrumentation.current = None
        module = super().parse_chunk(chunk, file_extension, start_offset)
        if module is not None and self.machine is not None:
            if TARGET_ATTRIBUTE in module.attributes and target_of(module) != self.machine:
                raise DiagnosticException(
                    f"the module is for target {target_of(module).name}, which contradicts --target {self.machine.name}"
                )
            set_target(module, self.machine)
        return module

    def apply_passes(self, prog: ModuleOp) -> None:
        start, earlier = prog.clone(), len(self.instrumentation.seconds)
        self.checker = None
        if self.args.verify_by_execution:
            self.checker = _checker(start)
        try:
            super().apply_passes(prog)
        except VerifyException as error:
            raise _located(error, prog, self.instrumentation.current) from error
        except PlenaError as error:
            # The form that --verify-diagnostics knows.
            raise PassFailedException(f"{self.instrumentation.current}: {error}") from error
        except DiagnosticException:
            raise
        except Exception as error:
            if not self.instrumentation.running:
                raise
            from plena_mlir.verify.crash import crash

            done = len(self.instrumentation.seconds) - earlier
            raise crash(start, self.pipeline.passes[:done], self.pipeline.passes[done], error) from error
        if self.checker is not None and self.checker.skipped:
            print(f"plena-opt: not executed: {', '.join(self.checker.skipped)}", file=sys.stderr)

    def output_resulting_program(self, prog: ModuleOp) -> str:
        try:
            return super().output_resulting_program(prog)
        except PlenaError as error:
            raise PassFailedException(f"{self.args.target}: {error}") from error

    def prepare_output(self) -> IO[str]:
        if self.args.output_file is None:
            return sys.stdout
        folder = Path(self.args.output_file).parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder for the output", str(folder))
        return self.output_text

    def run(self) -> None:
        super().run()
        if self.args.output_file is not None:
            write_file(self.args.output_file, self.output_text.getvalue())
        if self.args.mlir_timing:
            self.instrumentation.print_timing(sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on `argv` (default: the process's arguments) and return its exit status."""
    # IR is a web of cycles that stays alive until the end, so collecting it again and again only costs: half the time of a rewrite.
    gc.disable()
    tool: PlenaOptMain | None = None
    try:
        try:
            tool = PlenaOptMain(argv)
        except ArgSpecParseError as error:
            _usage_error(str(error).splitlines()[-1].strip() + f" in {_spelled(argv)}")
        tool.run()
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("plena-opt: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("PLENA_DEBUG"):
            traceback.print_exc()
        print(f"plena-opt: error: {_describe(error, tool)}", file=sys.stderr)
        return 1
    finally:
        gc.enable()


def _checker(module: ModuleOp) -> PassChecker:
    """A checker that runs a module of any level on made-up data."""
    from plena_mlir.verify.execution import Executor, Level, level_of
    from plena_mlir.verify.made_up import MadeUpStore, made_up_inputs
    from plena_mlir.verify.pass_checks import PassChecker

    if level_of(module) is not Level.TENSOR:
        return PassChecker(Executor())
    inputs = made_up_inputs(module)
    return PassChecker(Executor(inputs[0] if len(inputs) == 1 else inputs, MadeUpStore(module)))


def _describe(error: Exception, tool: PlenaOptMain | None) -> str:
    if isinstance(error, ParseError):
        return f"{error.span.get_location()}: {one_line(error.msg)}"
    if isinstance(error, PlenaError | DiagnosticException):
        return one_line(error)
    if isinstance(error, OSError) and error.strerror is not None:
        return one_line(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}")
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} of the input is not UTF-8 text"
    if isinstance(error, ValueError) and "Unrecognized file extension" in str(error):
        return one_line(error)
    running = None if tool is None else tool.instrumentation.current
    place = "" if running is None else f" in {running}"
    return f"internal error{place}, please report it: {type(error).__name__}: {one_line(error)} (PLENA_DEBUG=1 shows where)"


def _located(error: VerifyException, module: ModuleOp, pass_name: str | None) -> VerifyException:
    """The error with the name of the operation that does not verify, and of the pass that left it."""
    invalid = ""
    for op in module.walk():
        try:
            op.verify(verify_nested_ops=False)
        except Exception:  # an op beside a broken one may crash where it should only fail: it is the one to name
            invalid = f"`{op.name}`: "
            break
    after = "" if pass_name is None else f"after {pass_name}: "
    located = VerifyException(f"{after}{invalid}{error}")
    for note in getattr(error, "__notes__", ()):
        located.add_note(note)
    return located


def _usage_error(message: str) -> NoReturn:
    print(f"plena-opt: error: {one_line(message)} (plena-opt --help shows the options)", file=sys.stderr)
    sys.exit(2)


def _spelled(argv: Sequence[str] | None) -> str:
    return " ".join(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
