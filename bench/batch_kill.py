"""Kills `sizewell batch` again and again over many prompts and counts what was lost, doubled or asked twice.

    python bench/batch_kill.py [--prompts 10000] [--kills 50] [--window 64] [--seed 0]

The server is the tests' double in another process; it writes down every prompt it is asked.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sizewell.driver.answers import read_answers

DOUBLE = Path(__file__).parents[1] / "tests" / "driver" / "double.py"
SERVER_DELAY_S = 0.05


def _batch(url: str, folder: Path, window: int) -> subprocess.Popen[bytes]:
    words = ["-m", "sizewell", "--quiet", "batch", "p.txt", "--url", url, "--window", str(window), "--model", "double"]
    return subprocess.Popen([sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL)


def _killed(url: str, folder: Path, prompts: list[str], given: argparse.Namespace) -> int:
    """Run and kill; return how many kills hit a batch that was still running."""
    rng, hit = random.Random(given.seed), 0
    for _ in range(given.kills):
        (folder / "p.txt").write_text("\n".join(rng.sample(prompts, len(prompts))))
        process = _batch(url, folder, given.window)
        time.sleep(rng.uniform(0.1, given.longest))
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    return hit


def main() -> None:
    """Print the table; end with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=1.2, help="seconds a batch runs at most before it is killed")
    given = parser.parse_args()
    prompts = [f"prompt {number}" for number in range(given.prompts)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        command = [sys.executable, str(DOUBLE), "--log", str(log), "--delay", str(SERVER_DELAY_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            hit = _killed(url, folder, prompts, given)
            ended = _batch(url, folder, given.window).wait()
            server.kill()
        answers = Counter(line["answer"] for line in read_answers(folder / "p.answers.jsonl"))
        asked = len(log.read_text().splitlines())
    lost = sum(f"answer to {prompt}" not in answers for prompt in prompts)
    doubled = sum(answers.values()) - len(answers)
    redone, allowed = asked - len(prompts), given.kills * given.window
    print(
        f"{given.prompts:,} prompts, {given.kills} kills ({hit} while it ran), window {given.window}; last run: {ended}"
    )
    print(f"lost {lost}, doubled {doubled}, asked again {redone:,} (in flight at the kills: at most {allowed:,})")
    sys.exit(int(bool(ended or lost or doubled or redone > allowed)))


if __name__ == "__main__":
    main()
