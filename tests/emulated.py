"""A small emulated deployment on a free port of this machine, served by a thread."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sizewell.cli import emulate
from sizewell.cli.main import sizewell
from sizewell.emulator.deployment import Door, Emulation
from sizewell.emulator.server import Server
from sizewell.simulator.facts import Fleet, ReplicaFacts
from surfaces import flat_surface

BROKEN = (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError)


def small_fleet(**changes: Any) -> Fleet:
    """Return one replica: a step takes 10 ms and 0.05 ms for each token."""
    facts = ReplicaFacts(
        surface=flat_surface(0.01, 0.00005), blocks=4097, max_num_seqs=64, max_num_batched_tokens=2048,
        max_model_len_tokens=4096,
    )  # fmt: skip
    replicas = changes.pop("replicas", 1)
    return Fleet(replica=replace(facts, **changes), replicas=replicas)


def emulated(fleet: Fleet | None = None, words: tuple[str, ...] = (), **changes: Any) -> Emulation:
    """Return an emulation as the command would make it, with a fleet of known seconds."""
    context = sizewell.make_context("sizewell", ["-q", "emulate"], resilient_parsing=True)
    given = emulate.command.make_context("emulate", ["llama-3.1-8b", "--on", "h100", *words], parent=context).params
    found, _ = emulate.emulation_of(given)
    return replace(found, name="tiny", fleet=fleet or small_fleet(), compiled=False, **changes)


@dataclass(frozen=True, slots=True)
class Answered:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The JSON of each server-sent event, the closing one left out."""
        lines = [line[6:] for line in self.body.decode().split("\n\n") if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]


@dataclass(frozen=True, slots=True)
class Served:
    """A server in a thread, and how to talk to it."""

    server: Server
    host: str
    port: int
    lines: list[str]

    def ask(self, path: str, body: Any = None, **headers: str) -> Answered:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        said = {} if body is None else {"content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, data, {**said, **headers})
        answer = connection.getresponse()
        found = Answered(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def figures(self, name: str) -> dict[str, float]:
        """Return the values of a metric by its labels."""
        lines = self.ask("/metrics").body.decode().splitlines()
        found = (line.rsplit(" ", 1) for line in lines if line.startswith(name + "{"))
        return {labels: float(value) for labels, value in found}

    def settles(self, name: str, value: float, within_s: float = 30.0) -> bool:
        """Return whether a metric reaches a value, over all its labels, in time."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if sum(self.figures(name).values()) == value:
                return True
            time.sleep(0.02)
        return False

    def wait(self) -> Served:
        """Wait until it serves."""
        while self.ask("/health").status != 200:
            time.sleep(0.01)
        return self

    def breaks_off(self, **body: Any) -> bool:
        """Return whether the connection of a chat of one token is lost."""
        try:
            self.chat(max_tokens=1, ignore_eos=True, **body)
        except BROKEN:
            return True
        return False

    def chat(self, **body: Any) -> Answered:
        """Send a chat of one message."""
        return self.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello there"}], **body})


def completion(**body: Any) -> bytes:
    """Return a completion request as it goes over the wire."""
    data = json.dumps({"prompt": "x", **body}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


@contextmanager
def serving(emulation: Emulation, **door: Any) -> Iterator[Served]:
    """Serve for the length of a block."""
    lines: list[str] = []
    server, found, listening = Server(emulation, Door(port=0, **door), lines.append), [], threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.run(lambda address: (found.append(address), listening.set()))

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert listening.wait(30)
    host, _, port = found[0].removeprefix("http://").rpartition(":")
    try:
        yield Served(server, host, int(port), lines)
    finally:
        if thread.is_alive():
            loops[0].call_soon_threadsafe(server.stop)
        thread.join(60)
        assert not thread.is_alive()
