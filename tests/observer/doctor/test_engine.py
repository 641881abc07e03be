"""Engines are found in the Python that would start them, imported there, and compared with the plan."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from doctor_nodes import needs
from sizewell.observer.doctor import engine_facts
from sizewell.observer.doctor.engine import judge_engines
from sizewell.observer.doctor.engine_facts import EngineFacts, read_engine
from sizewell.observer.doctor.findings import Finding

R1 = needs()
VLLM = EngineFacts(name="vllm", place="/opt/venv/bin/python", version="0.33.0", torch="2.14.0", cuda="13.0", gpus=8)


def judged(facts: EngineFacts, *, wanted: bool = True) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_engines([facts], R1 if wanted else None)}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with a `vllm` whose Python finds a torch and a vllm that are files of a few lines."""
    packages, programs = tmp_path / "packages", tmp_path / "bin"
    packages.mkdir()
    programs.mkdir()
    (packages / "torch.py").write_text(
        "from types import SimpleNamespace as N\n"
        "__version__, version, cuda = '2.14.0', N(cuda='13.0'), N(device_count=lambda: 8)\n"
    )
    (packages / "vllm.py").write_text("print('noise')\n__version__ = '0.33.0'\n")
    (programs / "vllm").write_text(f"#!{sys.executable}\nimport vllm\n")
    (programs / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    return packages


def test_an_installed_engine_says_what_it_is(installed: Path) -> None:
    facts = read_engine("vllm")
    assert replace(facts, seconds=0.0) == replace(VLLM, place=sys.executable)
    assert {finding.verdict for finding in judged(facts).values()} == {"pass"}
    assert set(judged(facts)) == {"importable", "version", "flags", "devices"}


@pytest.mark.parametrize(
    "head", ["#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n", "#!/usr/bin/env python3\n", "#!{}\n"]
)
def test_the_python_of_a_script_is_found_however_pip_wrote_it(installed: Path, head: str) -> None:
    beside = installed.parent / "bin" / "python3"
    beside.symlink_to(sys.executable)
    (installed.parent / "bin" / "vllm").write_text(head.format(sys.executable) + "import vllm\n")
    assert read_engine("vllm").version == "0.33.0"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os; os._exit(3)", "import died"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "import died"),
    ],
)
def test_an_engine_that_cannot_be_imported_fails_with_the_reason(installed: Path, body: str, words: str) -> None:
    (installed / "vllm.py").write_text(body)
    found = judged(read_engine("vllm"))
    assert found["importable"].verdict == "fail"
    assert words in found["importable"].found
    assert set(found) == {"importable"}


def test_an_import_that_hangs_is_ended(installed: Path) -> None:
    (installed / "vllm.py").write_text("import time; time.sleep(60)")
    facts = read_engine("vllm", timeout_s=0.7)
    assert facts.problem.startswith("import took more than")


def test_no_engine_is_a_failure_only_for_a_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine_facts, "_installed_here", lambda name: False)
    nothing = read_engine("vllm")
    assert judged(nothing)["importable"].verdict == "fail"
    assert "pip install vllm==0.33" in judged(nothing)["importable"].fix
    assert judged(nothing, wanted=False)["importable"].verdict == "skipped"


def test_a_release_without_a_flag_of_the_plan_fails_by_its_name() -> None:
    found = judged(replace(VLLM, version="0.10.2"))
    assert found["version"].verdict == "warn"
    assert found["flags"].verdict == "fail"
    assert "--shutdown-timeout" in found["flags"].found
    assert "--engine vllm@0.10" in found["flags"].fix
    assert judged(replace(VLLM, version="0.5.4"))["flags"].verdict == "skipped"
    assert judged(replace(VLLM, version="0.33.1+cu130"))["version"].verdict == "pass"


def test_an_engine_that_sees_too_few_accelerators_fails() -> None:
    assert judged(replace(VLLM, gpus=0))["devices"].verdict == "fail"


def test_llama_cpp_says_its_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "llama-server"
    server.write_text("#!/bin/sh\necho 'version: 6100 (abcdef)' >&2\n")
    server.chmod(server.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    assert read_engine("llama.cpp").version == "b6100"
    server.write_text("#!/bin/sh\necho 'error while loading shared libraries: libcuda.so.1' >&2; exit 127\n")
    assert "libcuda.so.1" in read_engine("llama.cpp").problem
