"""A deployment on this machine: one process for each replica, in a session of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sizewell.deployer.log_file import GrowingLog, News, read_lines
from sizewell.deployer.processes import is_alive, kin, mark, seen, send
from sizewell.deployer.shared_memory import remove_leftovers
from sizewell.deployer.started import Keep, Part, Started, Stopped
from sizewell.specs.address import host_port
from sizewell.specs.errors import BadInputError
from sizewell.specs.standing import HttpFacts, JobFacts

GATE = 'read -r _ && exec "$@" </dev/null'
"""The process waits here until it has been written down; where that never happens its input ends, and so does it."""
KILL_S = 10.0
KIN_S = 10.0
PAUSE_S = 0.05


class Local:
    """A deployment started on this machine; who started it learns its exit codes, others only that it ended."""

    def __init__(self, started: Started, folder: Path) -> None:
        self._started, self._folder = started, folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, GrowingLog] = {}

    def start(self, keep: Keep) -> None:
        """Start every replica, behind a gate that opens once all are written down."""
        for number in range(self._started.replicas):
            check_free(self._host(number), self._port(number))
        try:
            parts = tuple(self._part(number) for number in range(len(self._started.commands)))
            keep(parts)
        except BaseException:
            for child in self._children.values():
                child.kill()
                child.wait()
            raise
        self._started = replace(self._started, parts=parts)
        for child in self._children.values():
            if child.stdin is not None:
                child.stdin.write(b"\n")
                child.stdin.close()

    def _part(self, number: int) -> Part:
        """Return a replica whose process waits behind the gate."""
        log = f"{self._started.names[number].replace(' ', '-')}.log"
        child = self._spawn(self._started.commands[number], log)
        self._children[str(child.pid)] = child
        now = seen(child.pid)
        return Part(id=str(child.pid), born=now.born if now else "", log=log, port=self._port(number))

    def _port(self, number: int) -> int:
        ports = self._started.ports
        return ports[number] if ports else self._started.port + number

    def _host(self, number: int) -> str:
        """Return where a replica listens: of two pools only the router is reached by others."""
        inside = self._started.pooled and number < self._started.replicas - 1
        return "127.0.0.1" if inside else self._started.host

    def _spawn(self, words: tuple[str, ...], log: str) -> subprocess.Popen[bytes]:
        with (self._folder / log).open("ab") as file:
            return subprocess.Popen(
                ["bash", "-c", GATE, "sizewell", *words],
                cwd=self._folder, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **mark(self._folder)},
            )  # fmt: skip

    def facts(self) -> tuple[JobFacts, ...]:
        """Return whether each process lives."""
        return tuple(map(self._fact, self._started.parts))

    def _fact(self, part: Part) -> JobFacts:
        child = self._children.get(part.id)
        code = child.poll() if child is not None else None
        if code is None and is_alive(int(part.id), part.born):
            begun = datetime.fromisoformat(self._started.made_at)
            running_s = (datetime.now(UTC) - begun).total_seconds()
            return JobFacts(stage="running", nodes=(socket.gethostname(),), running_s=running_s)
        return JobFacts(stage="ended", reason="exited", exit_code=code)

    def lines(self, number: int) -> list[str]:
        """Return a replica's log."""
        parts = self._started.parts
        return read_lines(self._folder / parts[number].log) if number < len(parts) else []

    def news(self, number: int) -> News:
        """Return what is new in it."""
        parts = self._started.parts
        if number >= len(parts):
            return News()
        log = self._folder / parts[number].log
        return self._logs.setdefault(log.name, GrowingLog(log)).news()

    @contextmanager
    def reach(self, number: int) -> Iterator[str | HttpFacts]:
        """Give a replica's address."""
        said = self._host(number)
        host = "127.0.0.1" if said in ("0.0.0.0", "::", "localhost") else said
        yield f"http://{host_port(host, self._started.parts[number].port or 0)}"

    def stop(self) -> Stopped:
        """Ask each engine to end, wait as long as running requests may take, and kill what then is left."""
        parts = self._started.parts
        for part in parts:
            if is_alive(int(part.id), part.born):
                send(int(part.id), signal.SIGTERM)
        _wait(lambda: not self._living(parts), self._started.stop_s)
        if not self._living(parts):
            # What cleans up behind an engine outlives it by a moment.
            _wait(lambda: not self._kin(), min(KIN_S, self._started.stop_s))
        killed = self._living(parts) != [] or self._kin() != []
        _wait(self._kill_all, KILL_S)
        removed = [name for number in range(len(parts)) for name in remove_leftovers(self.lines(number))]
        left = tuple(f"process {pid}" for pid in self._kin())
        return Stopped(killed=killed, removed=tuple(removed), alive=left)

    def _living(self, parts: tuple[Part, ...]) -> list[Part]:
        for child in self._children.values():
            child.poll()
        return [part for part in parts if is_alive(int(part.id), part.born)]

    def _kin(self) -> list[int]:
        return sorted({pid for part in self._started.parts for pid in kin(int(part.id), self._folder)})

    def _kill_all(self) -> bool:
        for part in self._living(self._started.parts):
            send(int(part.id), signal.SIGKILL)
        for pid in self._kin():
            send(pid, signal.SIGKILL)
        return not self._living(self._started.parts) and not self._kin()


def check_free(host: str, port: int) -> None:
    """Refuse a port somebody listens on; raises BadInputError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError as error:
            raise BadInputError(
                f"{host}:{port} cannot be listened on: {error.strerror}: choose another --port"
            ) from error


def _wait(over: Callable[[], bool], at_most_s: float) -> None:
    until_s = time.monotonic() + at_most_s
    while not over() and time.monotonic() < until_s:
        time.sleep(PAUSE_S)
