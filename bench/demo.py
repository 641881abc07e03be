"""The loop as a user types it: plan, explain, simulate, render, emulate, bench, compare, calibrate, predict again.

The emulator plays a machine with a calibration nobody is told of: less memory bandwidth is reached, and the host is
slower. What was measured on it is kept, and the next prediction is made with what it taught.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hidden_machine import ROOT, emulated, free_port, hide

SHARED = ROOT.parent / "shared" / "data"
PORT = free_port()
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
HIDDEN = {"relative_hbm": 0.7, "host_step_s": 2.0}


def sizewell(words: Sequence[str], places: Mapping[str, str]) -> int:
    """Run a command with records and a catalogue in `places`, print all it says; return 1 when it fails."""
    print(f"\n$ sizewell {' '.join(words)}", flush=True)
    began = time.perf_counter()
    command, environment = [sys.executable, "-m", "sizewell", *words], {**os.environ, **places}
    code = subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode
    print(f"(exit {code}, {time.perf_counter() - began:.2f} s)", flush=True)
    return int(code != 0)


def main() -> int:
    """Run each command; return 1 when one fails."""
    with tempfile.TemporaryDirectory(prefix="sizewell-demo-") as folder:
        places = {"SIZEWELL_HOME": f"{folder}/records", "SIZEWELL_CATALOG": f"{folder}/catalogue"}
        hide(Path(folder, "hidden"), "gpu:h100-sxm-80gb+engine:vllm", HIDDEN)
        failed = sum(sizewell(words, places) for words in COMMANDS)
        print(f"\n$ sizewell emulate {' '.join(SMALL)} --port {PORT} &", flush=True)
        with emulated(SMALL, PORT, Path(folder, "hidden")):
            failed += sum(sizewell(words, places) for words in CLOSING)
        if (SHARED / "memory-dev.csv").exists():
            failed += sizewell(["validate", str(SHARED / "memory-dev.csv")], places)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
