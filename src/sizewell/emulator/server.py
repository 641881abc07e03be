"""The server: doors and routes, start-up, the end, whichever way it comes."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Callable
from math import isfinite

from sizewell.emulator import llama_cpp, sglang, tokenizing
from sizewell.emulator.deployment import Door, Emulation
from sizewell.emulator.http import Connection, Exchange
from sizewell.emulator.service import Service
from sizewell.emulator.startup import load_lines, ready_line
from sizewell.simulator.compiled import CodeStore
from sizewell.specs.address import host_port
from sizewell.specs.errors import BadInputError

OPEN_PATHS = {
    "vllm": ("/health", "/ping", "/version", "/metrics"), "sglang": sglang.OPEN_PATHS,
    "llama.cpp": llama_cpp.OPEN_PATHS,
}  # fmt: skip
"""Paths that need no key, as on the engines."""
ENGINE_PATHS = {
    "vllm": ("/version", *tokenizing.PATHS), "sglang": (*sglang.MODEL_PATHS, *sglang.SERVER_PATHS, "/health_generate"),
}  # fmt: skip
TEXT = "text/plain; version=0.0.4; charset=utf-8"
Say = Callable[[str], None]


class Server:
    """An emulated deployment on a port. `say` takes log lines; `ready` is told the address once it listens."""

    def __init__(self, emulation: Emulation, door: Door, say: Say, store: CodeStore | None = None) -> None:
        self.emulation, self.door, self._say, self._store = emulation, door, say, store
        self.connections: set[Connection] = set()
        self.loaded = False
        self._over = asyncio.Event()
        self.service: Service | None = None

    async def run(self, ready: Callable[[str], None] = lambda address: None) -> None:
        """Serve until stopped, or the engine is dead and gone.

        Raises BadInputError for a port that is taken.
        """
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(self._connection, self.door.host, self.door.port, backlog=4096)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise BadInputError(f"{host_port(self.door.host, self.door.port)} cannot be listened on: {why}") from error
        async with listening:
            host, port = listening.sockets[0].getsockname()[:2]
            address = f"http://{host_port(host, port)}"
            ready(address)
            loading = asyncio.create_task(self._load(address))
            await self._over.wait()
            loading.cancel()
            for connection in list(self.connections):
                connection.transport.abort()

    def stop(self) -> None:
        """End the server."""
        self._over.set()

    async def _load(self, address: str) -> None:
        """Start the engine, as slowly as asked for, and see to its death."""
        failures, begun_s = self.emulation.failures, time.monotonic()
        service = Service(self.emulation, self._store)
        for share, line in load_lines(self.emulation):
            await asyncio.sleep(max(0.0, begun_s + share * failures.load_s - time.monotonic()))
            self._say(line)
        self.service = service
        service.start(self._on_death)
        self._say(ready_line(self.emulation, address))
        if isfinite(failures.die_after_s):
            await asyncio.sleep(failures.die_after_s)
            service.die()

    def _on_death(self) -> None:
        self._say("ERROR EngineCore encountered a fatal error.")
        if isfinite(self.emulation.failures.dead_s):
            asyncio.get_running_loop().call_later(self.emulation.failures.dead_s, self._over.set)

    def _connection(self) -> Connection:
        return Connection(self._serve, self.door.most_body_bytes, self.connections)

    def _serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        dialect = self.emulation.dialect
        if exchange.allow():
            return
        if not self._may_enter(exchange):
            refused = dialect.error(401, "Invalid API Key") if self._is_llama else {"error": "Unauthorized"}
            exchange.respond(401, refused)
        elif self.service is None:
            exchange.respond(503, dialect.error(503, "still loading", "ServiceUnavailableError"))
        elif exchange.method == "POST" and exchange.path in ("/v1/chat/completions", "/v1/completions"):
            self.service.take(exchange, chat="chat" in exchange.path)
        elif exchange.method == "POST" and exchange.path in tokenizing.PATHS and dialect.engine == "vllm":
            tokenizing.answer(exchange, self.emulation)
        elif exchange.method in ("GET", "HEAD") or exchange.path == "/ping":
            self._tell(exchange, self.service)
        else:
            self._unknown(exchange)

    @property
    def _is_llama(self) -> bool:
        return self.emulation.dialect.engine == "llama.cpp"

    def _may_enter(self, exchange: Exchange) -> bool:
        if self.door.api_key is None or exchange.path in OPEN_PATHS[self.emulation.dialect.engine]:
            return True
        scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
        given, wanted = key.strip().encode("latin-1"), self.door.api_key.encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given, wanted)

    def _tell(self, exchange: Exchange, service: Service) -> None:
        path, engine = exchange.path, self.emulation.dialect.engine
        if self._is_llama and path != "/metrics":
            if (found := llama_cpp.answer(path, self.emulation, dead=service.dead)) is None:
                self._unknown(exchange)
            else:
                exchange.respond(*found)
        elif engine == "sglang" and (told := sglang.answer(path, self.emulation)) is not None:
            exchange.respond(*told)
        elif path in ("/health", "/ping") or (path == "/health_generate" and engine == "sglang"):
            exchange.respond(503 if service.dead else 200, b"", "text/plain")
        elif path == "/metrics":
            exchange.respond(200, service.metrics_text().encode(), TEXT)
        elif path == "/version" and engine == "vllm":
            exchange.respond(200, {"version": self.emulation.dialect.version})
        elif path == "/v1/models":
            exchange.respond(200, self._models())
        else:
            self._unknown(exchange)

    def _models(self) -> object:
        owner = self.emulation.dialect.engine
        model = {
            "id": self.emulation.name, "object": "model", "created": int(time.time()), "owned_by": owner,
            "root": self.emulation.name, "parent": None, "max_model_len": self.emulation.max_model_len_tokens,
        }  # fmt: skip
        return {"object": "list", "data": [model]}

    def _unknown(self, exchange: Exchange) -> None:
        if self._is_llama:
            exchange.respond(404, self.emulation.dialect.error(404, "File Not Found"))
            return
        ours = ("/health", "/ping", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions")
        known = exchange.path in (*ours, *ENGINE_PATHS[self.emulation.dialect.engine])
        exchange.respond(405 if known else 404, {"detail": "Method Not Allowed" if known else "Not Found"})
