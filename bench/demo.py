"""The main job from question to answer, as a user types it: what to buy, why, what else runs, how right it is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

COMMANDS = [
    ["plan", "deepseek-r1", "--users", "64", "--input", "1000", "--answer", "1000", "--tpot", "60ms"],
    ["explain", "deepseek-r1", "--on", "8xh200", "--users", "64", "--input", "1000", "--answer", "1000"],
    ["fit", "--on", "rtx-3060-12gb", "--count", "2"],
    ["catalog", "gpus", "h200"],
]


def main() -> int:
    """Run each command, print it and its output; return 1 when one fails."""
    commands = list(COMMANDS)
    if (SHARED / "memory-dev.csv").exists():
        commands.append(["validate", str(SHARED / "memory-dev.csv")])
    failed = 0
    for words in commands:
        print(f"\n$ sizewell {' '.join(words)}", flush=True)
        began = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", "sizewell", *words], cwd=ROOT, check=False).returncode
        print(f"(exit {code}, {time.perf_counter() - began:.2f} s)", flush=True)
        failed += code != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
