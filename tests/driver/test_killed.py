"""A batch that is killed, or interrupted, loses nothing, repeats nothing that was kept, and goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sizewell.driver.answers import read_answers

WINDOW = 16
DOUBLE = Path(__file__).parent / "double.py"


@contextmanager
def _server(log: Path, delay_s: float, port: str = "0") -> Iterator[str]:
    command = [sys.executable, str(DOUBLE), "--log", str(log), "--delay", str(delay_s), "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def _batch(url: str, folder: Path, name: str = "p.txt") -> subprocess.Popen[str]:
    words = ["batch", name, "--url", url, "--window", str(WINDOW), "--model", "double"]
    command = [sys.executable, "-m", "sizewell", *words]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _asked(log: Path) -> Counter[str]:
    return Counter(line.partition(" ")[2] for line in log.read_text().splitlines())


def test_killed_at_random_moments_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    rng, log, count, kills = random.Random(7), tmp_path / "log", 1500, 6
    prompts = [f"prompt {number}" for number in range(count)]
    with _server(log, 0.02) as url:
        for _ in range(kills):
            (tmp_path / "p.txt").write_text("\n".join(rng.sample(prompts, count)))
            process = _batch(url, tmp_path)
            time.sleep(rng.uniform(0.3, 0.8))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert _batch(url, tmp_path).wait(60) == 0
    answers = [line["answer"] for line in read_answers(tmp_path / "p.answers.jsonl")]
    assert sorted(answers) == sorted(f"answer to {prompt}" for prompt in prompts)
    asked = _asked(log)
    assert sum(asked.values()) - count <= kills * WINDOW
    assert set(asked) == set(prompts)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_what_is_in_flight_and_ends_with_130(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    (tmp_path / "p.txt").write_text("\n".join(f"prompt {number}" for number in range(1000)))
    with _server(log, 0.1) as url:
        process = _batch(url, tmp_path)
        _until_asked(log, 2 * WINDOW)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in said
        kept = {line["answer"].removeprefix("answer to ") for line in read_answers(tmp_path / "p.answers.jsonl")}
        assert kept == set(_asked(log)), "all that was sent was answered and kept"


def test_a_second_interrupt_gives_up_what_is_in_flight(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "p.txt").write_text("a\nb\n")
    with _server(log, 60.0) as url:
        process = _batch(url, tmp_path)
        _until_asked(log, 2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_server_that_dies_ends_the_batch_with_5_and_the_next_run_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "p.txt").write_text("\n".join(f"prompt {number}" for number in range(400)))
    with _server(log, 0.1) as url:
        process = _batch(url, tmp_path)
        _until_asked(log, 3 * WINDOW)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "no server answers any more" in said
    with _server(log, 0.0, url.rpartition(":")[2]) as again:
        assert _batch(again, tmp_path).wait(60) == 0
    answers = [line["answer"] for line in read_answers(tmp_path / "p.answers.jsonl")]
    assert sorted(answers) == sorted(f"answer to prompt {number}" for number in range(400))


def _until_asked(log: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while not log.exists() or len(log.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
