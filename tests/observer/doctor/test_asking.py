"""A program that hangs, dies, floods or is not there never takes the doctor with it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from processes import lives
from sizewell.observer.doctor.asking import ask
from sizewell.observer.doctor.gpu_facts import read_gpus


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_is_said_and_how_it_ended() -> None:
    answer = ask(python("import sys; print('a'); print('b', file=sys.stderr); sys.exit(9)"))
    assert (answer.out, answer.err, answer.code, answer.problem) == ("a\n", "b\n", 9, "")
    assert answer.complaint == "a"
    assert ask(python("raise SystemExit(7)")).complaint == "exit code 7"


def test_more_than_a_pipe_holds_is_read() -> None:
    assert len(ask(python("print('x' * 1_000_000)")).out) == 1_000_001


def test_what_is_not_there_or_not_allowed_is_told(tmp_path: Path) -> None:
    assert ask([str(tmp_path / "none")]).problem == "absent"
    (tmp_path / "text").write_text("no program")
    assert ask([str(tmp_path / "text")]).problem == "refused"


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """The grandchild holds the pipe open and would keep a plain wait for ever."""
    pid = tmp_path / "pid"
    child = f"import os,time; open({str(pid)!r},'w').write(str(os.getpid())); time.sleep(60)"
    began = time.monotonic()
    answer = ask(python(f"import subprocess,sys; subprocess.run([sys.executable,'-c',{child!r}])"), timeout_s=2.0)
    assert answer.problem == "hung"
    assert time.monotonic() - began < 8.0
    for _ in range(100):
        if not lives(int(pid.read_text())):
            break
        time.sleep(0.05)
    assert not lives(int(pid.read_text()))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_a_hanging_nvidia_smi_is_told_in_time(tools: Path) -> None:
    (tools / "nvidia-smi").write_text("#!/bin/sh\nsleep 60\n")
    (tools / "nvidia-smi").chmod(0o755)
    facts = read_gpus(timeout_s=0.5)
    assert (facts.vendor, facts.trouble) == ("nvidia", "nvidia-smi does not answer")


def test_a_tool_left_over_from_another_board_is_no_trouble(tools: Path) -> None:
    """Its complaint counts where the bus shows such a board, and where there is no bus to look at."""
    (tools / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    (tools / "nvidia-smi").chmod(0o755)
    device = tools / "pci" / "0000:00:02.0"
    assert read_gpus(pci=tools / "pci").trouble == "NVIDIA-SMI has failed"
    device.mkdir(parents=True)
    (device / "class").write_text("0x030000\n")
    (device / "vendor").write_text("0x8086\n")
    assert read_gpus(pci=tools / "pci").vendor == "none"
    (device / "vendor").write_text("0x10de\n")
    assert read_gpus(pci=tools / "pci").trouble == "NVIDIA-SMI has failed"


def test_boards_are_read_from_the_bus_where_no_tool_is(tools: Path) -> None:
    for slot, (kind, maker) in enumerate([("0x030200", "0x10de"), ("0x020000", "0x15b3"), ("0x030000", "0x1002")]):
        device = tools / "pci" / f"0000:0{slot}:00.0"
        device.mkdir(parents=True)
        (device / "class").write_text(kind + "\n")
        (device / "vendor").write_text(maker + "\n")
    assert read_gpus(pci=tools / "pci").on_bus == ("nvidia", "amd")
    assert read_gpus(pci=tools / "none").on_bus == ()
