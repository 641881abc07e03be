"""A rendered SLURM job run by bash on this machine, with stand-ins for the scheduler's commands and the programs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STAND_INS = Path(__file__).parent / "deployer" / "stand_in" / "bin"
JOB = 4242
PATIENCE_S = 20


@contextmanager
def job(files: Mapping[str, str], nodes: int, folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the rendered script as the scheduler would start it on the first of its nodes."""
    (text,) = files.values()
    names = ",".join(f"node{number}" for number in range(1, nodes + 1))
    told = {
        **os.environ, "PATH": f"{STAND_INS}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": names,
        "SLURM_JOB_ID": str(JOB + os.getpid() % 100), "SLURM_CPUS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(folder),
        "STAND_IN_STEP": str(folder / "step"), **environment,
    }  # fmt: skip
    script = folder / "job.sbatch"
    script.write_text(text)
    log = (folder / "log").open("w")
    running = subprocess.Popen(["bash", str(script)], env=told, stdout=log, stderr=log, text=True, cwd=folder)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        if (folder / "step").exists():
            for pid in (folder / "step").read_text().split():
                _kill(int(pid))


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(words: str, folder: Path) -> str:
    """Return the log once it holds some words; fails when it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        text = (folder / "log").read_text()
        if words in text:
            return text
        time.sleep(0.05)
    raise AssertionError(f"{words!r} never came: {(folder / 'log').read_text()}")
