"""The loop on this machine's processor with a real vLLM: measure, plan, render, start, bench, compare, calibrate.

    .venv/bin/python bench/demo_vllm.py [FOLDER OF AN ENVIRONMENT WITH VLLM]

Ends with 1 where a command fails or where the engine's count of its KV cache is not the predicted one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
FAMILIES = ("qwen2", "deepseek_v3")
PORT, READY_S, STOP_S, MEASURE_S = 18471, 240.0, 60.0, 20
URL = f"http://127.0.0.1:{PORT}"
ENGINE = [
    "--engine",
    "vllm@0.32.0",
    "--kv-cache-memory",
    "1GiB",
    "--max-model-len",
    "4096",
    "--max-num-seqs",
    "32",
    "--enforce-eager",
]
LOAD = ["--input", "200", "--answer", "24", "--vocabulary", "4000"]
REFUSED = 4
CACHE_LINE = re.compile(r"CPU KV cache size: ([\d,]+) tokens")


class DemoError(Exception):
    """A step of the demo did not do what it must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Where everything of one walk lies: models, records and catalogue in `folder`, the engine in `vllm`."""

    folder: Path
    vllm: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every process: records and catalogue of its own, the engine first on the path, no network."""
        path = f"{(self.vllm / 'bin').resolve()}:{os.environ['PATH']}"
        places = {"SIZEWELL_HOME": str(self.folder / "records"), "SIZEWELL_CATALOG": str(self.folder / "catalogue")}
        return {**os.environ, **places, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}

    def say(self, words: Sequence[str], python: str = sys.executable, quiet: bool = False) -> str:
        """Run a command, print it and what it says (`quiet`: not that), and return it; raises DemoError.

        A calibration that is refused is an answer: what was measured was too noisy to learn from.
        """
        print(f"\n$ sizewell {' '.join(words)}", flush=True)
        command = [python, "-m", "sizewell", *words]
        done = subprocess.run(command, env=self.environment, cwd=self.folder, text=True, stdout=-1, check=False)
        if not quiet:
            print(done.stdout, flush=True)
        if done.returncode and (words[0], done.returncode) != ("calibrate", REFUSED):
            raise DemoError(f"sizewell {words[0]} ended with {done.returncode}")
        return done.stdout

    def document(self, *words: str, python: str = sys.executable) -> Any:
        """Return what a command answers as JSON, unseen."""
        return json.loads(self.say([*words, "--json"], python, quiet=True))


def machine(loop: Loop) -> str:
    """Measure this machine, put it into the catalogue, and return its name there."""
    words = ["measure", "--device", "cpu", "--quick", "--seconds", str(MEASURE_S), "--only", "memory,gemm", "--save"]
    return str(loop.document(*words, python=str(loop.vllm / "bin" / "python"))["machine"])


def model(loop: Loop, family: str) -> Path:
    """Make the tiny model of a family."""
    folder, maker = loop.folder / family, ROOT / "bench" / "tiny_models.py"
    command = [str(loop.vllm / "bin" / "python"), str(maker), str(folder), family]
    subprocess.run(command, check=True, capture_output=True, env=loop.environment)
    return folder


@contextmanager
def started(loop: Loop, family: str, machine_key: str) -> Iterator[Path]:
    """Render the deployment, start it as it is written, and yield its log once it answers."""
    words = ["render", family, "--on", machine_key, *ENGINE, "--port", str(PORT), "--output", f"{family}-files"]
    loop.say([*words, "--force"])
    log_file = loop.folder / f"{family}.log"
    with log_file.open("w") as out:
        script = loop.folder / f"{family}-files" / "serve.sh"
        engine = subprocess.Popen(
            ["bash", str(script)], stdout=out, stderr=out, env=loop.environment, cwd=loop.folder, start_new_session=True
        )
    try:
        _wait(engine, log_file)
        yield log_file
    finally:
        _stop(engine)


def _stop(engine: subprocess.Popen[bytes]) -> None:
    """End what was started and nothing else: its processes are a group of their own. One that hangs is killed."""
    for told in (signal.SIGTERM, signal.SIGKILL):
        if engine.poll() is None:
            os.killpg(engine.pid, told)
            with suppress(subprocess.TimeoutExpired):
                engine.wait(STOP_S)


def _wait(engine: subprocess.Popen[bytes], log_file: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and engine.poll() is None:
        try:
            with urlopen(f"{URL}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.5)
    raise DemoError(f"the engine did not start:\n{log_file.read_text()[-3000:]}")


def compare_cache(predicted: int, log_file: Path) -> None:
    """Print the engine's count of its KV cache beside the predicted one; raises DemoError where they differ."""
    found = CACHE_LINE.search(log_file.read_text())
    counted = int(found[1].replace(",", "")) if found else None
    print(f"\nKV cache: predicted {predicted:,} tokens, the engine says {counted:,}" if counted else "\nno line found")
    if counted != predicted:
        raise DemoError(f"predicted {predicted:,} tokens of KV cache, the engine says {counted}")


def error(predicted: Any, measured: Any) -> float:
    """Return the mean size of error of one bench's predicted medians of TTFT and TPOT against another's measured ones.

    Both offered the same loads, so that a prediction made earlier is judged by what was measured later.
    """
    logs = [
        abs(log(guess["predicted"][name]["p50_s"] / found["score"][name]["p50_s"]))
        for guess, found in zip(predicted["points"], measured["points"], strict=True)
        for name in ("ttft", "tpot")
    ]
    return exp(sum(logs) / len(logs)) - 1


def walk(loop: Loop, family: str, machine_key: str) -> None:
    """Walk the loop with one model, and say how far off its predictions were before and after calibrating."""
    model(loop, family)
    stated = [family, "--on", machine_key, *ENGINE]
    loop.say(["plan", family, "--gpu", machine_key, *ENGINE[:2], "--users", "4", *LOAD[:4]])
    plan = loop.document("explain", *stated, "--users", "4", *LOAD[:4], "--keep", f"{family}-here")
    with started(loop, family, machine_key) as log_file:
        predicted = int(plan["memory"]["kv_tokens"])
        compare_cache(predicted, log_file)
        number = loop.document("runs", "list", "--of", "plans")["plans"][-1]["id"]
        words = ["-q", "bench", "--plan", str(number), "--url", URL, *LOAD, "--requests", "32"]
        loop.say([*words, "--concurrency", "1,2,3,4,6,8", "--keep", family])
        measured = [one for one in loop.document("runs", "list")["runs"] if one["origin"] == "measured"]
        loop.say(["runs", "compare", str(measured[-1]["id"])])
        first = loop.document(*words, "--concurrency", "2,5")
        loop.say(["calibrate", "--from-runs", *(str(one["id"]) for one in measured), "--save", "here"])
        again = loop.document(*words, "--concurrency", "2,5")
    before, after = error(first, again), error(again, again)
    print(f"\n{family}: the next prediction is {after:.0%} off, {before:.0%} before calibrating", flush=True)


def environment_of(words: Sequence[str]) -> Path:
    """Return the folder of the engine's environment, which commands are run from other folders by."""
    return Path(words[0] if words else ROOT / ".venv-vllm").absolute()


def main() -> int:
    """Walk the loop with each family; return 1 where a step fails."""
    vllm = environment_of(sys.argv[1:])
    if not (vllm / "bin" / "vllm").exists():
        print(f"{vllm}: there is no vLLM: make .venv-vllm/.installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="sizewell-demo-") as folder:
        loop = Loop(folder=Path(folder), vllm=vllm)
        try:
            here = machine(loop)
            for family in FAMILIES:
                walk(loop, family, here)
        except DemoError as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
