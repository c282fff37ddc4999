"""What commands say on a terminal."""

import importlib
import json
import os
import subprocess
import sys
import threading
import types
from unittest.mock import Mock, PropertyMock

import pytest

from experiments import COMMANDS, command, refusal, train
from experiments.__main__ import overview
from experiments.auto.config import AUTO
from experiments.building import build
from experiments.configuration.config import DataConfig
from experiments.configuration.presets import PRESETS
from experiments.runs.run_folder import RunFolder
from fcn.training import NonFiniteLossError
from tests.conftest import ROOT


def test_the_result_is_a_table_whatever_the_classes_are_called(tmp_path):
    values = {"val/miou": 0.5, "val/pixel_accuracy": None, "steps": 3, "seconds": 1.0}
    values |= {f"val/iou/{name}": value for name, value in (("道路", 0.5), ("\x1b[2J", None), ("x" * 99, 1.0))}
    (tmp_path / "result.json").write_text(json.dumps(values))
    _, road, clear, long, _ = RunFolder(tmp_path).describe_result().splitlines()
    assert road == "  道路" + 36 * " " + "  0.5000"
    assert clear == r"  \x1b[2J" + 33 * " " + "  absent"
    assert long == "  " + 39 * "x" + "…  1.0000"


def test_errors_of_threads_that_are_told_anyway_are_told_once(monkeypatch, capsys):
    for module, name in ((threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))  # to be restored
    monkeypatch.delenv("FCN_TRACEBACK", raising=False)
    command.quiet()
    for error in (OSError("full"), TypeError("ours")):
        threading.excepthook(threading.ExceptHookArgs((type(error), error, None, threading.current_thread())))
    said = capsys.readouterr().err
    assert "full" not in said
    assert "TypeError: ours" in said


class Refused(Exception):
    """What is neither a mistake of the user's nor a want of the machine's."""


def _missing(name: str) -> Exception:
    try:
        importlib.import_module(name)
    except ImportError as error:
        return error


LESS = "a smaller batch, smaller images or a smaller network needs less"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("steps is 0"), "steps is 0"),
        (FileNotFoundError("no image \x1b[2J.png"), r"no image \x1b[2J.png"),
        (ValueError("one\ntwo\r"), "one\ntwo\\r"),
        (NonFiniteLossError("step 3: loss = nan"), "step 3: loss = nan"),
        (
            MemoryError(),
            f"out of memory (no more is to be had); {LESS}",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nAllocations:\n..."),
            f"out of memory (RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.); {LESS}",
        ),
        (ImportError("COCO's average precision needs pycocotools: pip install 'fcn-zoo[coco]'"),) * 2,
        (
            _missing("no_such.package"),
            "No module named 'no_such'; install the package that has it, such as pip install no-such",
        ),
        (_missing("fcn.no_such"), None),
        (ImportError("cannot import name 'jit' from 'jax'", name="jax"), None),
        (RuntimeError("INTERNAL: something else"), None),
        (TypeError("f() takes no arguments"), None),
        (Refused(), None),
    ],
)
def test_which_errors_are_told_in_a_sentence(error, told):
    assert command.explain(error) == (None if told is None else str(told))


RUN = "from experiments import command\ndef main():\n    {}\ncommand.run(main)"


def _run(statement: str, **kwargs) -> subprocess.Popen:
    code = RUN.format(statement)
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


def test_who_stops_reading_ends_a_command_without_a_word():
    with _run("while True: print('line')") as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_names_that_the_terminal_cannot_write_are_escaped():
    with _run(r"print('道路 \udcff')", env={**os.environ, "PYTHONIOENCODING": "ascii"}) as process:
        assert process.communicate() == (b"\\u9053\\u8def \\udcff\n", b"")


def test_a_defect_of_ours_gives_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: int("three"))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: invalid literal for int() with base 10: 'three'\n"


def test_the_overview_names_every_command_and_preset_in_80_columns():
    lines = overview().splitlines()
    first = [line.split()[0] for line in lines if line.startswith("  ")]
    assert first == [*COMMANDS, "preset", AUTO, *PRESETS]
    assert max(map(len, lines)) <= 80
    assert next(line for line in lines if "shapes_unet  " in line).split()[-3:] == ["3", "min", "0.917"]


def test_what_runs_is_a_command():
    folder = ROOT / "experiments"
    files = [*folder.glob("*.py"), *folder.glob("*/__main__.py")]
    runs = {path.parent.name if path.stem == "__main__" else path.stem for path in files if "__main__" in path.read_text()}
    assert runs - {"experiments"} == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("python -m experiments.train --lr 3", None),
        ("python -W error -m experiments.benchmark", None),
        ("python -m experiments", None),
        ("python -m pytest -m slow", None),
        ("python -mexperiments.benchmark.contestant fcn", None),
        ("python -m experiments.command", "experiments.command is no command; python -m experiments lists the commands"),
        ("python -mexperiments.trian", "experiments.trian is no command; did you mean experiments.train?"),
        (
            "python -m experiments.benchmark.race",
            "experiments.benchmark.race is no command; did you mean experiments.benchmark?",
        ),
    ],
)
def test_what_is_no_command_is_told(words, said):
    assert refusal(words.split()) == (said and f"error: {said}")


def test_a_module_that_is_no_command_is_not_silent(type_command):
    done = type_command("experiments.reports.report")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: experiments.reports.report is no command")


@pytest.mark.parametrize("option", train.HINTS)
def test_options_of_others_are_answered_with_ours(option, capsys):
    with pytest.raises(ValueError, match=f"unknown option {option}; .* --[a-z]"):
        train.parse([f"{option}=3"])
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    ours = [word.strip(",;") for word in train.HINTS[option].split() if word.startswith("--")]
    assert ours and set(ours) <= set(capsys.readouterr().out.split())


def test_help_fits_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert " Train a network: `python -m experiments.train [PRESET] [--option value ...]`." in lines


def test_what_is_remarked_of_data_is_printable(monkeypatch, capsys):
    """It names files, whose names may hold anything."""
    split = types.SimpleNamespace(source=types.SimpleNamespace(remarks=("no label: \x1b[2J.png",)), value_range=None)
    monkeypatch.setattr(build, "load_data", lambda *_: split)
    build.load_splits(DataConfig())
    assert capsys.readouterr().err == "no label: \\x1b[2J.png\n"


def test_remarks_are_looked_for_by_the_first_process_only(monkeypatch, capsys):
    source = Mock(spec=["remarks"])
    remarks = type(source).remarks = PropertyMock(return_value=("a remark",))
    monkeypatch.setattr(build.jax, "process_index", lambda: 1)
    build.tell_remarks(types.SimpleNamespace(source=source))
    remarks.assert_not_called()
    assert capsys.readouterr().err == ""


def test_points_of_a_command_s_help_have_lines_of_their_own(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    text = "It does\nthis:\n* one thing, which is long enough\n* another.\n\n\nThat is all."
    expected = ["It does this:", "* one thing, which is long", "enough", "* another.", "That is all."]
    assert command._wrapped(text).splitlines() == [f" {line}" for line in expected]
