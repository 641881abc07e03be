"""Which engines are installed, in whose Python, and whether they can be imported there."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sizewell.observer.doctor.asking import PATIENCE_S, ask
from sizewell.specs.engine import EngineName

IMPORT_PATIENCE_S = 180.0
PROGRAMS: dict[EngineName, str] = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llama-server"}
MARK = "sizewell-doctor:"
PROBE = f"""
import json, sys
found = {{}}
try:
    import torch
    found |= {{"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}}
    module = __import__(sys.argv[1])
    found["version"] = module.__version__
except Exception as error:
    found["problem"] = f"{{type(error).__name__}}: {{error}}"
print("{MARK}" + json.dumps(found))
"""
"""Run by the engine's own Python; whatever the engine prints comes before the mark."""
_SHEBANG = re.compile(
    rb"^#!\s*(?:/usr/bin/env\s+)?(\S*python[\d.]*)\s*$|^'''exec'\s+\"?([^\"\n]*python[\d.]*)\"?\s", re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """One engine: where it is (None: nowhere), its version, the CUDA its PyTorch is built for, and what went wrong."""

    name: EngineName
    place: str | None
    version: str | None = None
    torch: str | None = None
    cuda: str | None = None
    gpus: int | None = None
    seconds: float = 0.0
    problem: str = ""


def read_engine(name: EngineName, timeout_s: float = IMPORT_PATIENCE_S) -> EngineFacts:
    """Import an engine in the Python that would start it: that of the program on PATH, else our own."""
    program = shutil.which(PROGRAMS[name])
    if name == "llama.cpp":
        return _llama(program)
    python = _python_of(Path(program)) if program else None
    if python is None and not _installed_here(name):
        return EngineFacts(name=name, place=None)
    place = str(python or sys.executable)
    began = time.perf_counter()
    answer = ask([place, "-c", PROBE, name], timeout_s)
    seconds = time.perf_counter() - began
    if answer.problem:
        said = f"import took more than {timeout_s:.0f} s" if answer.problem == "hung" else f"{place}: {answer.problem}"
        return EngineFacts(name=name, place=place, seconds=seconds, problem=said)
    marked = [line for line in answer.out.splitlines() if line.startswith(MARK)]
    if not marked:
        last = (answer.err.strip().splitlines() or [answer.complaint])[-1]
        return EngineFacts(name=name, place=place, seconds=seconds, problem=f"import died: {last}")
    return EngineFacts(name=name, place=place, seconds=seconds, **json.loads(marked[-1].removeprefix(MARK)))


def _installed_here(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _python_of(program: Path) -> Path | None:
    """Return the Python a console script names: pip writes it in the first line, or in the second if it is long."""
    with program.open("rb") as stream:
        head = _SHEBANG.search(stream.read(2048))
    said = shutil.which((head[1] or head[2]).decode(errors="replace")) if head else None
    named = Path(said) if said else None
    beside = program.resolve().parent / "python3"
    return next((python for python in (named, beside) if python is not None and python.exists()), None)


def _llama(program: str | None) -> EngineFacts:
    if program is None:
        return EngineFacts(name="llama.cpp", place=None)
    answer = ask([program, "--version"], PATIENCE_S)
    found = re.search(r"version:\s*(\d+)", answer.out + answer.err)
    problem = "" if found else answer.problem or answer.complaint
    return EngineFacts(name="llama.cpp", place=program, version=f"b{found[1]}" if found else None, problem=problem)
