"""Wrong usage: one line, exit status 2, and help that shows how to do it."""

from __future__ import annotations

import pytest

from plena_mlir.cli.plena import main

COMMANDS = ("compile", "run", "asm", "disasm", "emulate", "targets", "ablate")


def usage_error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that `plena argv` prints before it exits with status 2."""
    with pytest.raises(SystemExit) as exit_info:
        main(argv)
    captured = capsys.readouterr()
    assert exit_info.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "plena: error: the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "plena run: error: the following arguments are required: DIR|MODEL"),
        (["compile", "clm-60m"], "required: -o"),
        (["run", "clm-60m", "--seq", "0"], "argument --seq: 0 is less than 1"),
        (["run", "clm-60m", "--seq", "many"], "argument --seq: 'many' is not an integer"),
        (["run", "clm-60m", "--layers", "-1"], "argument --layers: -1 is less than 1"),
        (["run", "clm-60m", "--random-weights", "x"], "argument --random-weights: 'x' is not an integer"),
        (["run", "clm-60m", "--scope", "layer"], "argument --scope: invalid choice: 'layer'"),
        (["run", "clm-60m", "--compare", "hf,torch"], "argument --compare: 'torch' is not one of hf, golden, tile"),
        (
            ["run", "clm-60m", "--golden", "bf16"],
            "argument --golden: 'bf16' is neither a mode (hardware, no_weight_quant, no_bf16,",
        ),
        (["run", "clm-60m", "--golden", "weight"], "did you mean weights?"),
        (["run", "clm-60m", "--golden", "kv,fp32"], "argument --golden: 'fp32' is a whole mode and stands alone"),
        (["run", "clm-60m", "--golden", "kv"], "argument --golden: nothing is compared with the golden without --compare golden"),
        (["run", "clm-60m", "--plots", "out"], "argument --plots: there is nothing to plot without --compare"),
        (["ablate"], "plena ablate: error: the following arguments are required: DIR|MODEL"),
        (["ablate", "clm-60m", "--emulator", "yes"], "unrecognized arguments: yes"),
        (["ablate", "clm-60m", "--layers", "0"], "argument --layers: 0 is less than 1"),
        (["run", "clm-60m", "--ids", "1,,2"], "argument --ids: '' is not an integer"),
        (["run", "clm-60m", "--target", "8x4x4", "--settings", "x.toml"], "not allowed with argument --target"),
        (["asm", "a.asm"], "plena asm: error: the following arguments are required: -o"),
        (["emulate", "--hbm", "x"], "required: --opcode, --fpsram (plena"),
        (["emulate", *"--opcode a.mem --hbm x --fpsram x --stage-profile-out s.json".split()], "give --stage-profile-asm too"),
        (["generate", "model", "--prompt", "a", "--seq", "4"], "unrecognized arguments: --seq 4"),
    ],
)
def test_wrong_usage_is_one_line(argv, message, capsys):
    assert message in usage_error(capsys, *argv)


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == "plena 0.1.0 (xdsl 0.74.0)\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert exit_info.value.code == 0
    assert "\nexample:\n  plena " in capsys.readouterr().out


def test_examples_are_lines_to_copy(capsys):
    with pytest.raises(SystemExit):
        main(["bisect", "--help"])
    assert "\n  plena bisect build/model --switch strategy=micro,broadcast\n" in capsys.readouterr().out


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n    {command} " in out for command in COMMANDS)
