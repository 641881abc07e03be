"""Processes on this machine: known before they run, told apart from later ones, ended with their kin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from launches import STARTED
from sizewell.deployer import log_file
from sizewell.deployer.local import GATE, Local
from sizewell.deployer.processes import is_alive, kin, seen
from sizewell.deployer.shared_memory import remove_leftovers
from sizewell.deployer.started import Part, Started
from sizewell.specs.errors import BadInputError

PATIENCE_S = 20
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); print('up', flush=True)"
DAEMON = PARENT.replace("])", "], start_new_session=True)")
GENTLE = "import time; print('up', flush=True); time.sleep(600)"


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def local(folder: Path, program: str, stop_s: float = 5.0) -> tuple[Local, list[Part]]:
    """Start one Python program as a replica."""
    commands = ((sys.executable, "-c", program),)
    started = replace(STARTED, parts=(), replicas=1, commands=commands, port=free_port(), stop_s=stop_s)
    found: list[Part] = []
    running = Local(started, folder)
    running.start(found.extend)
    wait(lambda: "up" in running.lines(0))
    return running, found


def wait(over: object) -> None:
    """Wait until something is so."""
    until_s = time.monotonic() + PATIENCE_S
    while not over():  # type: ignore[operator]
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_what_left_the_session_is_ended_too(tmp_path: Path) -> None:
    """Ray's parts are daemons; somebody who reads the log in its folder is none of it."""
    with subprocess.Popen([sys.executable, "-c", GENTLE], cwd=tmp_path, stdout=subprocess.DEVNULL) as reader:
        running, (part,) = local(tmp_path, DAEMON, stop_s=0.5)
        wait(lambda: not is_alive(int(part.id), part.born) or running.facts()[0].stage == "ended")
        (daemon,) = kin(int(part.id), tmp_path)
        now = seen(daemon)
        assert now is not None and now.session != int(part.id)
        stopped = running.stop()
        assert stopped.killed and stopped.alive == ()
        assert not is_alive(daemon, now.born)
        assert reader.poll() is None
        reader.kill()


def test_it_runs_in_a_session_of_its_own_and_ends_when_asked(tmp_path: Path) -> None:
    running, (part,) = local(tmp_path, GENTLE)
    assert running.facts()[0].stage == "running"
    now = seen(int(part.id))
    assert now is not None and now.born == part.born and now.session == int(part.id)
    stopped = running.stop()
    assert not stopped.killed and stopped.alive == ()
    assert (running.facts()[0].stage, running.facts()[0].exit_code) == ("ended", -signal.SIGTERM)


def test_who_does_not_listen_is_killed_with_its_kin(tmp_path: Path) -> None:
    running, (part,) = local(tmp_path, PARENT, stop_s=0.2)
    wait(lambda: not is_alive(int(part.id), part.born))  # its child lives on
    wait(lambda: running.lines(0).count("up") == 2)
    assert len(kin(int(part.id), tmp_path)) == 1
    stopped = running.stop()
    assert stopped.killed and stopped.alive == () and kin(int(part.id), tmp_path) == ()


def test_a_later_process_of_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", GENTLE], start_new_session=True, stdout=subprocess.DEVNULL) as other:
        part = Part(id=str(other.pid), born="another boot:17", log="replica-0.log")
        stopped = Local(replace(STARTED, parts=(part,), replicas=1, stop_s=0.2), tmp_path).stop()
        assert stopped.alive == () and not stopped.killed
        assert other.poll() is None
        other.kill()


def test_nothing_runs_that_nobody_could_write_down(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    program = f"open({str(mark)!r}, 'w').close(); import time; time.sleep(600)"
    started = replace(STARTED, parts=(), replicas=1, commands=((sys.executable, "-c", program),), port=free_port())
    told: list[Part] = []

    def full(parts: tuple[Part, ...]) -> None:
        told.extend(parts)
        raise BadInputError("no room")

    with pytest.raises(BadInputError):
        Local(started, tmp_path).start(full)
    assert not is_alive(int(told[0].id), told[0].born)
    assert not mark.exists()


def test_nothing_outlives_a_command_killed_before_it_wrote_it_down(tmp_path: Path) -> None:
    """The gate opens for a line only: the end of its input, which a killed command leaves, is none."""
    command = ["bash", "-c", GATE, "sizewell", "touch", str(tmp_path / "ran")]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0
    assert not (tmp_path / "ran").exists()
    assert subprocess.run(command, input=b"\n", check=False).returncode == 0
    assert (tmp_path / "ran").exists()


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        started: Started = replace(STARTED, parts=(), replicas=1, port=door.getsockname()[1])
        with pytest.raises(BadInputError, match="--port"):
            Local(started, tmp_path).start(lambda parts: None)


def test_a_long_log_loses_its_middle_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MOST_HEAD_BYTES", 60)
    monkeypatch.setattr(log_file, "MOST_TAIL_BYTES", 60)
    (tmp_path / "log").write_text("".join(f"line {number:04d}\n" for number in range(1000)))
    lines = log_file.read_lines(tmp_path / "log")
    assert lines[0] == "line 0000" and lines[-1] == "line 0999" and len(lines) == 12
    assert log_file.read_lines(tmp_path / "none") == []


def test_a_log_read_again_and_again_tells_only_what_is_new(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reading = log_file.GrowingLog(log)
    assert reading.news() == log_file.News()
    said = "first\nzweite Zeile: äöü 思考\nbar 10%\rbar 20%\rend".encode()
    told = ""
    for end in range(0, len(said) + 1, 7):  # cuts characters in two
        log.write_bytes(said[:end])
        told += reading.news().text
    log.write_bytes(said)
    assert told + reading.news().text == said.decode()
    assert reading.news() == log_file.News()
    log.write_text("started over\n")
    assert reading.news() == log_file.News(anew=True, text="started over\n")


def test_only_shared_memory_named_in_the_log_is_removed(tmp_path: Path) -> None:
    mine, others = (
        ("vllm_dist_0a1b2c3d4e-0-cpushm", "vllm_dist_0a1b2c3d4e-1-cpushm"),
        ("vllm_dist_ffff00001-0", "sem.x"),
    )
    for name in (*mine, *others):
        (tmp_path / name).touch()
    removed = remove_leftovers(["INFO joined group vllm_dist_0a1b2c3d4e over shm", "vllm_dist_"], tmp_path)
    assert removed == mine
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    assert os.path.isdir(tmp_path)
