"""A real vLLM on this machine's processor, started by the command that `sizewell render` writes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vllm_sessions import PYTHON

HERE = Path(__file__).parent
NAME = "tiny"
START_S, STOP_S = 300.0, 60.0
CPU = "cpu-ryzen-7600"
"""A processor of the catalogue: what is rendered for it is what any processor is told."""
WORDS = (
    "--on", CPU, "--engine", "vllm@0.32", "--max-num-seqs", "16", "--max-model-len", "2048", "--enforce-eager",
    "--served-model-name", NAME, "--reasoning-parser", "deepseek_r1",
)  # fmt: skip
SITE = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""What this machine wants besides: a small cache, and one of its two cores left to clients."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers, and the processes behind it."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill_engine_core(self) -> None:
        """End the process that computes as a lack of memory would."""
        (core,) = [pid for pid, title in processes(self.process.pid) if "EngineCore" in title]
        os.kill(core, signal.SIGKILL)


def site_environment() -> dict[str, str]:
    """Return the environment a rendered command runs in."""
    return {**os.environ, **SITE, "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"}


def processes(group: int) -> list[tuple[int, str]]:
    """Return the processes of a session with their titles."""
    said = subprocess.run(["ps", "-s", str(group), "-o", "pid=,args="], capture_output=True, text=True, check=False)
    lines = (line.strip().partition(" ") for line in said.stdout.splitlines())
    return [(int(pid), title) for pid, _, title in lines]


def make_model(folder: Path, *size: str) -> Path:
    """Return a folder with a tiny model in it; its size is the hidden one and the number of layers."""
    made = subprocess.run([PYTHON, HERE / "tiny_model.py", folder, *size], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder


def rendered(model: Path, folder: Path, *words: str) -> Path:
    """Return the folder in which `sizewell render` wrote what it was asked for."""
    command = [sys.executable, "-m", "sizewell", "render", str(model), *WORDS, *words, "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def free_port() -> int:
    """Return a port nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Start every process of a block on one core of those we have, as far as there are two."""
    own = os.sched_getaffinity(0)
    chosen = {sorted(own)[number]} if len(own) > 1 else own
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[Served]:
    """Serve a model for the length of a block."""
    port, log = free_port(), folder / "vllm.log"
    script = rendered(model, folder, "--port", str(port)) / "serve.sh"
    with log.open("wb") as out:
        started = subprocess.Popen(
            [script], cwd=folder, env=site_environment(), stdout=out, stderr=out, start_new_session=True
        )
    served = Served(f"http://127.0.0.1:{port}", started, log)
    try:
        _wait_until_ready(served)
        yield served
    finally:
        _stop(started)


def clocks(url: str) -> dict[str, float]:
    """Return the sums and counts an engine keeps."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^vllm:(\w+_(?:sum|count|total))\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def _wait_until_ready(served: Served) -> None:
    deadline = time.monotonic() + START_S
    while not answers(served.url):
        assert served.process.poll() is None, served.log.read_text()[-3000:]
        assert time.monotonic() < deadline, served.log.read_text()[-3000:]
        time.sleep(0.25)


def answers(url: str) -> bool:
    """Return whether a server says that it is well."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(started: subprocess.Popen[bytes]) -> None:
    started.terminate()
    with suppress(subprocess.TimeoutExpired):
        started.wait(STOP_S)
    for pid, _ in processes(started.pid):
        os.kill(pid, signal.SIGKILL)
    started.wait(STOP_S)
