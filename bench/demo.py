"""The loop as a user types it: plan, explain, simulate, render, emulate, bench, compare, calibrate, predict again.

The emulator plays a machine with a calibration nobody is told of: less memory bandwidth is reached, and the host is
slower. What was measured on it is kept, and the next prediction is made with what it taught.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
PATIENCE_S = 60.0
with socket.create_server(("127.0.0.1", 0)) as free:
    PORT = free.getsockname()[1]
URL = f"http://127.0.0.1:{PORT}"
R1 = ["deepseek-r1", "--on", "8xh200", "--tp", "8"]
SMALL = ["llama-3.1-8b", "--on", "1xh100", "--max-model-len", "4096"]

COMMANDS = [
    ["plan", "deepseek-r1", "--users", "64", "--input", "1000", "--answer", "1000", "--tpot", "60ms"],
    ["explain", *R1, "--users", "64", "--input", "1000", "--answer", "1000"],
    ["simulate", *R1, "--rate", "2/s", "--input", "1000", "--think", "2000", "--answer", "500", "--requests", "300"],
    ["render", *R1, "--target", "slurm"],
    ["fit", "--on", "rtx-3060-12gb", "--count", "2"],
    ["explain", *SMALL, "--users", "8", "--input", "500", "--answer", "40", "--keep", "small"],
]
# Lengths differ as people's do: requests that are all alike would keep in step, or not, by the client's milliseconds.
LOAD = ["--url", URL, "--input", "500", "--answer", "40", "--length-sigma", "0.5"]
CLOSING = [
    ["bench", "--plan", "1", *LOAD, "--concurrency", "1,8,24", "--keep", "first"],
    ["runs", "list"],
    ["runs", "compare", "4"],
    ["calibrate", "--from-runs", "--save", "measured"],
    ["bench", "--plan", "1", *LOAD, "--concurrency", "16"],
]
"""The loop closed: run 4 is the bench's second load, run 3 what predicted it."""
HIDDEN = """name = "hidden"
[scales."gpu:h100-sxm-80gb+engine:vllm"]
relative_hbm = { value = 0.7, spread = 0.1, source = "made up for the demo" }
host_step_s = { value = 2.0, spread = 0.1, source = "made up for the demo" }
"""


def sizewell(words: Sequence[str], places: Mapping[str, str]) -> int:
    """Run a command with records and a catalogue in `places`, print all it says; return 1 when it fails."""
    print(f"\n$ sizewell {' '.join(words)}", flush=True)
    began = time.perf_counter()
    command, environment = [sys.executable, "-m", "sizewell", *words], {**os.environ, **places}
    code = subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode
    print(f"(exit {code}, {time.perf_counter() - began:.2f} s)", flush=True)
    return int(code != 0)


@contextmanager
def emulated(catalogue: Path) -> Iterator[None]:
    """Serve a small model at the pace of an H100, as a catalogue describes it, for as long as the context lasts."""
    words = ["emulate", *SMALL, "--port", str(PORT)]
    print(f"\n$ sizewell {' '.join(words)} &", flush=True)
    command, environment = (
        [sys.executable, "-m", "sizewell", *words],
        {**os.environ, "SIZEWELL_CATALOG": str(catalogue)},
    )
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(command, cwd=ROOT, stderr=said, env=environment)
        try:
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until and server.poll() is None and not _answers():
                time.sleep(0.2)
            if server.poll() is not None:
                said.seek(0)
                sys.exit(f"the emulated machine did not start: {said.read()}")
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
    with tempfile.TemporaryDirectory(prefix="sizewell-demo-") as folder:
        places = {"SIZEWELL_HOME": f"{folder}/records", "SIZEWELL_CATALOG": f"{folder}/catalogue"}
        hidden = Path(folder, "hidden", "calibrations", "hidden.toml")
        hidden.parent.mkdir(parents=True)
        hidden.write_text(HIDDEN)
        failed = sum(sizewell(words, places) for words in COMMANDS)
        with emulated(hidden.parents[1]):
            failed += sum(sizewell(words, places) for words in CLOSING)
        if (SHARED / "memory-dev.csv").exists():
            failed += sizewell(["validate", str(SHARED / "memory-dev.csv")], places)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
