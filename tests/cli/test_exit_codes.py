"""Every way the command ends has its code, and the table in docs/exit-codes.md lists exactly those."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from sizewell.cli import main
from sizewell.specs import errors
from sizewell.specs.errors import NoFeasiblePlanError, SizewellError, UnreachableError

PAGE = Path(__file__).parents[2] / "docs" / "exit-codes.md"
Say = Callable[..., Any]


def _raising(problem: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise problem

    return command


def test_the_page_lists_every_code_there_is() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SizewellError)]
    used = {0, 1, 4, main.INTERRUPTED, *(kind.exit_code for kind in kinds)}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}
    assert listed == used


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (SizewellError("bad"), 2),
        (click.UsageError("bad"), 2),
        (NoFeasiblePlanError("bad"), 3),
        (UnreachableError("bad"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_problem_is_one_line_and_its_code(
    say: Say, monkeypatch: pytest.MonkeyPatch, problem: BaseException, code: int
) -> None:
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: _raising(problem))
    said = say("catalog")
    assert said.code == code
    assert said.out == ""
    assert said.complaint.startswith("sizewell: ")


def test_a_fault_of_our_own_keeps_its_traceback(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: _raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        say("catalog")


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("--nope",),
        ("catalog",),
        ("catalog", "gpus", "h2000x"),
        ("catalog", "gpu\x1b[31ms\n\n"),
        ("catalog", "gpus", "x" * 100_000),
        ("-q", "-v", "catalog", "gpus"),
    ],
)
def test_bad_usage_is_one_short_printable_line(say: Say, words: tuple[str, ...]) -> None:
    said = say(*words)
    assert said.code == 2
    assert said.out == ""
    assert said.complaint.isprintable()
    assert len(said.complaint) < 600


def test_help_costs_nothing_and_answers(say: Say) -> None:
    assert say().code == 0
    assert say("--help").code == 0
    heavy = "import sys; from sizewell.cli.main import run; run(['--help']); "
    heavy += "print([m for m in ('numpy', 'rich', 'yaml', 'tomllib', 'sizewell.catalog') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "sizewell", "catalog", "gpus", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(10) == 0


def test_ctrl_c_while_modules_are_loaded_is_one_line_and_130() -> None:
    code = (
        "import sys; from sizewell import __main__ as door\n"
        "class Slow:\n    def find_spec(self, name, *_):\n"
        "        if name == 'sizewell.cli.main': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Slow())\n"
        "door.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "sizewell: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_is_one_line_and_130() -> None:
    code = (
        "import signal, time, click; from sizewell.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@click.command()\n"
        "def slow():\n    print('ready', flush=True); time.sleep(30)\n"
        "main.LazyGroup.get_command = lambda *_: slow\n"
        "raise SystemExit(main.run(['catalog']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == b"sizewell: interrupted\n"
        assert running.wait(10) == 130


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_is_told_to_end_leaves_nothing_half_written(tmp_path: Path, told: signal.Signals) -> None:
    code = (
        "import time, click; from pathlib import Path; from sizewell import __main__ as door\n"
        "from sizewell.catalog.figures_file import write_figures; from sizewell.cli import main\n"
        f"file, run = Path({str(tmp_path / 'figures.csv')!r}), main.run\n"
        "def slow():\n    print('ready', flush=True); time.sleep(30); yield\n"
        "main.LazyGroup.get_command = lambda *_: click.command()(lambda: write_figures(file, slow()))\n"
        "main.run = lambda: run(['catalog'])\n"
        "door.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        running.send_signal(told)
        assert running.stderr.read() == b"sizewell: interrupted\n"
        assert running.wait(10) == 128 + told
    assert not list(tmp_path.iterdir())


def test_talk_goes_to_stderr_and_only_when_asked(say: Say) -> None:
    words = ("plan", "llama-3.1-8b", "--gpu", "h100", "--json")
    plain, quiet, loud = say(*words), say("-q", *words), say("-v", *words)
    assert plain.err == quiet.err == ""
    assert "candidates in" in loud.err
    assert plain.out == quiet.out == loud.out


@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"NO_COLOR": "1"}, {"LC_ALL": "C", "COLUMNS": "20"}]
)
def test_odd_terminals_still_get_an_answer(settings: dict[str, str]) -> None:
    command = [sys.executable, "-m", "sizewell", "catalog", "gpus", "h200"]
    environment = {"PATH": "/usr/bin:/bin", **settings}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"h200-sxm-141gb" in done.stdout
    assert b"\x1b" not in done.stdout


def test_a_catalogue_of_ones_own_that_is_none_is_named(
    say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / "mine.toml").write_text("key = ")
    for place, words in ((__file__, "is not a folder"), (tmp_path, "mine.toml")):
        monkeypatch.setenv("SIZEWELL_CATALOG", str(place))
        said = say("catalog", "gpus")
        assert said.code == 2
        assert words in said.complaint


def _ends(shell: str) -> subprocess.CompletedProcess[str]:
    words = f"set -o pipefail; {sys.executable} -m sizewell {shell}"
    return subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", ["catalog gpus", "catalog gpus --json", "fit --on l4 --top 200"])
def test_a_reader_who_leaves_is_no_failure(words: str) -> None:
    ended = _ends(f"{words} | head -1")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("words", ["catalog gpus", "catalog gpus --json", "--help"])
def test_a_closed_stdout_is_no_failure(words: str) -> None:
    ended = _ends(f"{words} >&-")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", ["catalog gpus", "catalog gpus --json", "--help"])
def test_a_full_disk_is_one_line(words: str) -> None:
    ended = _ends(f"{words} >/dev/full")
    assert ended.returncode == 1
    assert ended.stderr.startswith("sizewell: the answer cannot be written: ")
    assert len(ended.stderr.splitlines()) == 1


def test_predictions_never_overwrite_the_figures_they_are_about(say: Say, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text((Path(__file__).parent / "memory_rows.csv").read_text())
    before = table.read_text()
    said = say("validate", str(table), "--predictions", str(table))
    assert said.code == 2
    assert "would overwrite" in said.complaint
    assert table.read_text() == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("plan", "m", "--tpot", "10ms", "--tpot", "20ms"), "--tpot is given twice"),
        (("fit", "m", "--on", "8xh100", "--on", "4xh100"), "--on is given twice"),
        (("simulate", "m", "--on", "h100", "--rate", "1/s", "--rate", "2/s"), "--rate is given twice"),
        (("plan", "m", "--on", "h100"), "plan calls it --gpu"),
        (("explain", "m", "--gpu-memory-utilization", "0.9"), "explain calls it --memory-fraction"),
        (("simulate", "m", "--isl", "1000"), "simulate calls it --input"),
    ],
)
def test_a_flag_that_would_silently_lose_is_refused(say: Say, words: tuple[str, ...], names: str) -> None:
    said = say(*words)
    assert said.code == 2
    assert names in said.complaint


def test_a_flag_that_adds_up_may_be_repeated(say: Say) -> None:
    said = say("plan", "Qwen/Qwen3-0.6B", "--gpu", "l4", "--gpu", "t4", "--max-nodes", "1", "--json")
    assert said.code == 0


def test_a_table_saved_by_a_spreadsheet_is_the_same_table(say: Say, tmp_path: Path) -> None:
    """Spreadsheets write a byte order mark and carriage returns: the first column was not recognised."""
    plain = Path(__file__).parent / "memory_rows.csv"
    saved = tmp_path / "saved.csv"
    saved.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert say("validate", saved, "--json").out == say("validate", plain, "--json").out


def test_predictions_that_have_no_place_are_refused_before_an_hour_of_work(say: Say, tmp_path: Path) -> None:
    said = say("validate", Path(__file__).parent / "memory_rows.csv", "--predictions", tmp_path / "none" / "out.csv")
    assert (said.code, said.out, "there is no folder" in said.complaint) == (2, "", True)
