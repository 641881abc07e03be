"""`sizewell batch --ray`: the same files as without, and either goes on where the other stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from served_vllm import Served

pytestmark = pytest.mark.real
DOUBLE = Path(__file__).parents[1] / "driver" / "double.py"
WINDOW, PROMPTS = 16, 400
PATIENCE_S = 180.0
KEY = "secret-of-the-test"


@contextmanager
def double(log: Path, delay_s: float = 0.05) -> Iterator[str]:
    """Serve what writes down every prompt it is asked."""
    command = [sys.executable, str(DOUBLE), "--log", str(log), "--delay", str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def started(folder: Path, url: str, *words: str) -> subprocess.Popen[str]:
    """Start a batch over `p.jsonl`."""
    command = [sys.executable, "-m", "sizewell", "batch", "p.jsonl", "--url", url, "--window", str(WINDOW), "--json"]
    return subprocess.Popen([*command, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked(folder: Path, url: str, *words: str) -> tuple[int, Any, str]:
    """Run a batch to its end; return its exit code, its document and its talk."""
    running = started(folder, url, *words)
    out, talk = running.communicate(timeout=PATIENCE_S)
    return running.returncode, json.loads(out) if out else None, talk


def write(folder: Path, count: int = PROMPTS, **fields: Any) -> set[str]:
    """Write numbered prompts and return their ids."""
    rows = [{"custom_id": f"q{number}", "prompt": f"question {number}", **fields} for number in range(count)]
    folder.mkdir(exist_ok=True)
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {row["custom_id"] for row in rows}


def kept(folder: Path, what: str = "answers") -> list[dict[str, Any]]:
    """Return the whole lines of a file of results."""
    path = folder / f"p.{what}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def same(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results in one order, without what names this very exchange."""
    return sorted(lines, key=lambda line: str(line["key"]))


def test_the_files_are_those_of_a_batch_without_ray(ray_cluster: str, tmp_path: Path) -> None:
    folders = tmp_path / "ray", tmp_path / "here"
    with double(tmp_path / "log") as url:
        found = []
        for folder, words in zip(folders, (("--ray", ray_cluster), ()), strict=True):
            write(folder, 60)
            code, document, talk = asked(folder, url, *words)
            assert code == 0, talk
            found.append({name: value for name, value in document.items() if name != "elapsed_s"})
        assert same(kept(folders[0])) == same(kept(folders[1]))
        assert found[0] == found[1]
        assert list(folders[0].iterdir()) != []
        before = (tmp_path / "log").read_text()
        code, document, _ = asked(folders[1], url, "--ray", ray_cluster)
        assert (code, document["answered_before"], document["answered"]) == (0, 60, 0)
        assert (tmp_path / "log").read_text() == before, "nothing was asked again"


def test_killed_on_ray_it_goes_on_without(ray_cluster: str, tmp_path: Path) -> None:
    """A kill costs what was in flight and on its way; answers arrive one by one, not by the part."""
    ids = write(tmp_path)
    with double(tmp_path / "log", delay_s=0.2) as url:  # seconds of work left, should this process be kept waiting
        for enough in (40, 120):
            running = started(tmp_path, url, "--ray", ray_cluster)
            deadline = time.monotonic() + PATIENCE_S
            while len(kept(tmp_path)) < enough:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            running.send_signal(signal.SIGKILL)
            running.communicate()
        before = len(kept(tmp_path))
        assert before < len(ids), "the kills came while it ran"
        code, document, talk = asked(tmp_path, url)
        assert code == 0, talk
        assert document["answered_before"] == before
    assert sorted(line["custom_id"] for line in kept(tmp_path)) == sorted(ids)
    times = Counter(line.partition(" ")[2] for line in (tmp_path / "log").read_text().splitlines())
    assert len(times) == len(ids)
    redone = sum(times.values()) - len(ids)
    assert redone < len(ids) / 2, redone


def workers() -> list[int]:
    """Return the processes of Ray that ask prompts."""
    said = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in said.splitlines() if "ray::" in line and "ask_all" in line]


def test_killed_workers_lose_nothing_and_redo_what_was_in_flight(ray_cluster: str, tmp_path: Path) -> None:
    """Ray would begin a dead worker's part again and leave out as many answers as it had brought."""
    ids, kills = write(tmp_path), 0
    with double(tmp_path / "log", delay_s=0.5) as url:  # slow, so that few answers are on their way through Ray
        running = started(tmp_path, url, "--ray", ray_cluster)
        for enough in (60, 160):
            deadline = time.monotonic() + PATIENCE_S
            while len(kept(tmp_path)) < enough:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(workers()[0], signal.SIGKILL)
            kills += 1
        out, talk = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, talk
    assert sorted(line["custom_id"] for line in kept(tmp_path)) == sorted(ids)
    assert json.loads(out)["left"] == 0
    redone = len((tmp_path / "log").read_text().splitlines()) - len(ids)
    assert redone <= kills * WINDOW, redone


def test_errors_and_a_lost_server_are_said_as_without_ray(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWELL_API_KEY", KEY)
    write(tmp_path, 200)
    with double(tmp_path / "log", delay_s=0.2) as url:
        running = started(tmp_path, url, "--ray", ray_cluster)
        deadline = time.monotonic() + PATIENCE_S
        while len(kept(tmp_path)) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    _, talk = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 5, talk
    assert "no server answers any more" in talk
    assert KEY not in talk + "".join(path.read_text() for path in tmp_path.glob("p.*"))


def test_a_real_engine_is_asked_from_a_cluster(vllm: Served, ray_cluster: str, tmp_path: Path) -> None:
    ids = write(tmp_path, 64, max_tokens=20, ignore_eos=True)
    code, document, talk = asked(tmp_path, vllm.url, "--ray", ray_cluster, "--stream")
    assert code == 0, talk
    assert document["usage"]["output_tokens"] == 20 * len(ids)
    assert {line["custom_id"] for line in kept(tmp_path)} == ids


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with double(tmp_path / "log") as url:
        code, _, talk = asked(tmp_path, url, "--ray", "127.0.0.1:9")
    assert code == 2
    assert "no Ray cluster answers there" in talk
