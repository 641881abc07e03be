"""Print how fast sizewell is on this machine, and the data-driven peer beside it in the same run.

Cold figures are the median of several fresh processes. The peer is installed from the package index into a temporary
environment; where that fails its line says so.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLAN = ("plan", "deepseek-r1", "--gpu", "h200", "--max-gpus", "8", "--input", "1000", "--answer", "1000")
WIDE_PLAN = ("plan", "deepseek-r1", "--users", "64", "--input", "1000", "--answer", "1000", "--json")
PEER = "aiconfigurator"
PEER_ARGUMENTS = (
    "cli", "default", "--model-path", "deepseek-ai/DeepSeek-R1", "--total-gpus", "8", "--system", "h200_sxm",
    "--backend", "vllm", "--isl", "1000", "--osl", "1000", "--no-color",
)  # fmt: skip


def cold_s(command: Sequence[str | Path], runs: int = 5) -> tuple[float, int]:
    """Return the median wall time of fresh processes, and the last exit code."""
    times, code = [], 0
    for _ in range(runs):
        began = time.perf_counter()
        code = subprocess.run([str(word) for word in command], capture_output=True, check=False).returncode
        times.append(time.perf_counter() - began)
    return statistics.median(times), code


def packages(python: Path) -> int:
    """Return how many distributions an environment holds besides pip and setuptools."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    return len({row["name"] for row in json.loads(listed.stdout)} - {"pip", "setuptools", "wheel"})


def environment(folder: Path, what: str) -> tuple[Path, float] | None:
    """Install `what` into a fresh environment; return its bin folder and the seconds it took, None when it failed."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    return (folder / "bin", time.perf_counter() - began) if done.returncode == 0 else None


def line(what: str, figure: str, note: str = "") -> None:
    """Print one row of the table."""
    print(f"{what:<52}{figure:>16}   {note}".rstrip(), flush=True)


def ours(folder: Path) -> None:
    """Measure sizewell as a user installs it."""
    made = environment(folder, str(ROOT))
    if made is None:
        line("sizewell", "–", "could not be installed: no package index reachable")
        return
    home, took = made
    line("sizewell: install", f"{took:.1f} s", f"{packages(home / 'python')} packages")
    for words, bar in ((("--help",), 0.3), (PLAN, 1.5), (("explain", "deepseek-r1", "--on", "8xh200"), 1.5)):
        seconds, code = cold_s([home / "sizewell", *words])
        shown = "sizewell " + " ".join(words[:2]) + (" …" if len(words) > 2 else "")
        line(f"{shown}: cold shell", f"{seconds:.2f} s", f"bar {bar:g} s" + (f", EXIT {code}" if code else ""))
    search(home)
    in_process(home)


def search(home: Path) -> None:
    """Measure the whole search: a question that leaves everything open."""
    began = time.perf_counter()
    done = subprocess.run([home / "sizewell", *WIDE_PLAN], capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        line("sizewell plan, every accelerator", "–", done.stderr.strip()[-80:])
        return
    candidates = json.loads(done.stdout)["candidates"]
    line("sizewell plan, every accelerator: cold shell", f"{took:.2f} s", f"{candidates:,} candidates")


IN_PROCESS = """
import time
from sizewell import Limits, Question, Slo, Workload, plan, read_model
load = Workload(users=64, input_tokens=1000, answer_tokens=1000)
formats = ("native", "awq-int4", "nvfp4")
question = Question(model=read_model("r1"), workload=load, limits=Limits(slo=Slo(tpot_s=0.05)), weight_formats=formats)
plan(question)
began = time.perf_counter()
found = plan(question)
print(f"{time.perf_counter() - began:.2f} s,{found.candidates:,} candidates in three formats")
"""


def in_process(home: Path) -> None:
    """Measure a wide search where everything is imported already."""
    done = subprocess.run([home / "python", "-c", IN_PROCESS], capture_output=True, text=True, check=False)
    if done.returncode:
        line("search in process", "–", done.stderr.strip()[-80:])
        return
    took, _, size = done.stdout.strip().partition(",")
    line("search in process, every accelerator", took, size)


def peer(folder: Path) -> None:
    """Measure the peer on the same question: DeepSeek-R1 on eight H200, 1000 tokens in and out."""
    made = environment(folder, PEER)
    if made is None:
        line(PEER, "–", "skipped: it could not be installed here")
        return
    home, took = made
    line(f"{PEER}: install", f"{took:.1f} s", f"{packages(home / 'python')} packages")
    seconds, code = cold_s([home / PEER, "cli", "--help"], runs=3)
    line(f"{PEER} cli --help: cold shell", f"{seconds:.2f} s", f"EXIT {code}" if code else "")
    seconds, code = cold_s([home / PEER, *PEER_ARGUMENTS], runs=1)
    line(f"{PEER} cli default …, R1 on 8 H200: cold shell", f"{seconds:.2f} s", f"EXIT {code}" if code else "")


def main() -> None:
    """Print the table."""
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder) / "sizewell")
        peer(Path(folder) / "peer")


if __name__ == "__main__":
    main()
