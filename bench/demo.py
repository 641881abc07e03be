"""The main job as a user types it: plan, explain, simulate, render, run against the emulator, compare; what else runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
PORT, PATIENCE_S = 18431, 60.0
URL = f"http://127.0.0.1:{PORT}"
R1 = ["deepseek-r1", "--on", "8xh200", "--tp", "8"]
SMALL = ["llama-3.1-8b", "--on", "1xh100"]

COMMANDS = [
    ["plan", "deepseek-r1", "--users", "64", "--input", "1000", "--answer", "1000", "--tpot", "60ms"],
    ["explain", *R1, "--users", "64", "--input", "1000", "--answer", "1000"],
    ["simulate", *R1, "--rate", "2/s", "--input", "1000", "--think", "2000", "--answer", "500", "--requests", "300"],
    ["render", *R1, "--target", "slurm"],
    ["fit", "--on", "rtx-3060-12gb", "--count", "2"],
]
BENCH = ["bench", *SMALL, "--url", URL, "--concurrency", "1,8,32", "--input", "500", "--answer", "60"]


def sizewell(words: Sequence[str]) -> int:
    """Run a command and print it, its output and its time; return 1 when it fails."""
    print(f"\n$ sizewell {' '.join(words)}", flush=True)
    began = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "sizewell", *words], cwd=ROOT, check=False).returncode
    print(f"(exit {code}, {time.perf_counter() - began:.2f} s)", flush=True)
    return int(code != 0)


@contextmanager
def emulated() -> Iterator[None]:
    """Serve a small model at the pace of an H100 for as long as the context lasts."""
    words = ["emulate", *SMALL, "--port", str(PORT)]
    print(f"\n$ sizewell {' '.join(words)} &", flush=True)
    server = subprocess.Popen([sys.executable, "-m", "sizewell", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and server.poll() is None and not _answers():
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait()


def _answers() -> bool:
    try:
        with urlopen(f"{URL}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def main() -> int:
    """Run each command; return 1 when one fails."""
    failed = sum(sizewell(words) for words in COMMANDS)
    with emulated():
        failed += sizewell(BENCH)
    if (SHARED / "memory-dev.csv").exists():
        failed += sizewell(["validate", str(SHARED / "memory-dev.csv")])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
