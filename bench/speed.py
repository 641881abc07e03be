"""Print how fast sizewell is on this machine, and the data-driven peer beside it in the same run.

Cold figures are the median of several fresh processes. The peer is installed from the package index into a temporary
environment; where that fails its line says so, and `--no-peer` leaves it out.
"""

from __future__ import annotations

import argparse
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
WIDE_PLAN = ("plan", "deepseek-r1", "--users", "64", "--input", "1000", "--answer", "1000")
EXPLAIN = ("explain", "deepseek-r1", "--on", "8xh200")
PEER = "aiconfigurator"
PEER_ARGUMENTS = (
    "cli", "default", "--model-path", "deepseek-ai/DeepSeek-R1", "--total-gpus", "8", "--system", "h200_sxm",
    "--backend", "vllm", "--isl", "1000", "--osl", "1000", "--no-color",
)  # fmt: skip


def cold_s(command: Sequence[str | Path], runs: int = 5, cache: Path | None = None) -> tuple[float, int]:
    """Return the median wall time of fresh processes, and the last exit code; `cache` is the user's cache folder."""
    times, code = [], 0
    environ = {**os.environ, "XDG_CACHE_HOME": str(cache)} if cache else None
    for _ in range(runs):
        began = time.perf_counter()
        words = [str(word) for word in command]
        code = subprocess.run(words, capture_output=True, check=False, env=environ).returncode
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
    cold("sizewell --help", home, ("--help",), 0.3)
    # The first run on a machine compiles the simulator and keeps the code.
    first, code = cold_s([home / "sizewell", *PLAN], runs=1, cache=folder / "cache")
    line("sizewell plan …, the first on this machine", f"{first:.2f} s", f"EXIT {code}" if code else "")
    cold("sizewell plan …, R1 on 8 H200", home, PLAN, 1.5)
    cold("sizewell plan …, R1 on every accelerator", home, WIDE_PLAN, 1.5)
    cold("sizewell explain …, R1 on 8 H200", home, EXPLAIN, 1.5)
    in_process(home)


def cold(what: str, home: Path, words: Sequence[str], bar_s: float) -> None:
    """Measure one command from a cold shell."""
    seconds, code = cold_s([home / "sizewell", *words])
    line(f"{what}: cold shell", f"{seconds:.2f} s", f"bar {bar_s:g} s" + (f", EXIT {code}" if code else ""))


IN_PROCESS = """
import time
from sizewell import Limits, Question, Slo, Workload, plan, read_model
load = Workload(users=64, input_tokens=1000, answer_tokens=1000)
formats = ("native", "awq-int4", "nvfp4")
question = Question(model=read_model("r1"), workload=load, limits=Limits(slo=Slo(tpot_s=0.05)), weight_formats=formats)
times = []
for _ in range(4):
    began = time.perf_counter()
    found = plan(question)
    times.append(time.perf_counter() - began)
print(f"{sorted(times[1:])[1]:.2f} s,bar 1 s, {found.candidates:,} candidates in three formats")
"""


def in_process(home: Path) -> None:
    """Measure a wide search where everything is imported already, with the ten plans it returns simulated."""
    done = subprocess.run([home / "python", "-c", IN_PROCESS], capture_output=True, text=True, check=False)
    if done.returncode:
        line("search in process", "–", done.stderr.strip()[-80:])
        return
    took, _, size = done.stdout.strip().partition(",")
    line("search for R1 in process, every accelerator", took, size)


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
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--no-peer", action="store_true", help="leave out the comparison")
    wanted = words.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder) / "sizewell")
        if not wanted.no_peer:
            peer(Path(folder) / "peer")


if __name__ == "__main__":
    main()
