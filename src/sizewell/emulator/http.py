"""HTTP as far as an engine's clients speak it, over asyncio: bounded heads and bodies, keep-alive, chunked streams.

A request becomes an `Exchange` once it is whole; whoever serves it answers at once or writes to it for as long as the
client listens. Writing a chunk costs one call and one system call, which is what a server of thousands of streams
does all day.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

MOST_HEAD_BYTES = 64 * 1024
MOST_UNREAD_BYTES = 4 * 2**20
"""A client that lets so much of its answer lie unread is dropped."""
MOST_CHUNK_LINE_BYTES = 256
"""The line that says how long a chunk is."""
REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
    413: "Content Too Large", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}  # fmt: skip
ANY_ORIGIN = "access-control-allow-origin: *\r\n"
"""Engines let pages of every origin read their answers."""
CHUNKED = b"transfer-encoding: chunked\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    + ANY_ORIGIN.encode()
    + CHUNKED
    + b"\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
OLD = "HTTP/1.0"
"""What proxies speak to servers unless told otherwise: it knows no chunks, an answer ends with its connection."""


Words = tuple[str, str, str]
"""The first line of a request: its method, its path, and the version of HTTP."""


class BadRequest(Exception):
    """A request that is not HTTP as we speak it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Exchange:
    """One request and the way back to its client. `on_close` is called where the client leaves before the end.

    `came_s` is when its head was here, by the clock of the event loop.
    """

    def __init__(self, connection: Connection, words: Words, headers: dict[str, str], body: bytes) -> None:
        self.connection, self.headers, self.body = connection, headers, body
        self.came_s = asyncio.get_running_loop().time()
        self.method = words[0]
        self.path = words[1].partition("?")[0]
        self.on_close: Callable[[], None] | None = None
        self._send = connection.transport.write
        self._is_old = words[2] == OLD
        self.write: Callable[[bytes], None] = self._write_unframed if self._is_old else self._send

    def respond(self, status: int, body: Any, kind: str = "application/json", more: str = "") -> None:
        """Answer with one body: bytes as they are, anything else as JSON; `more` are whole lines of the head."""
        data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n"
        self._send(f"{head}{ANY_ORIGIN}{more}\r\n".encode("latin-1") + (b"" if self.method == "HEAD" else data))
        self.connection.done(self)

    def allow(self) -> bool:
        """Tell a browser that asks first that it may; returns whether it asked."""
        method = self.headers.get("access-control-request-method", "")
        if self.method != "OPTIONS" or not method:
            return False
        wanted = self.headers.get("access-control-request-headers", "")
        lines = f"access-control-allow-methods: {method}\r\naccess-control-max-age: 600\r\n"
        self.respond(200, b"OK", "text/plain", lines + f"access-control-allow-headers: {wanted}\r\n" * bool(wanted))
        return True

    def start_stream(self) -> None:
        """Begin an answer of server-sent events; what is written from now on are whole chunks."""
        self._send(STREAM_HEAD.replace(CHUNKED, b"connection: close\r\n") if self._is_old else STREAM_HEAD)

    def end_stream(self, last: bytes) -> None:
        """Write the last chunks and end the answer."""
        self.write(last + LAST_CHUNK)
        self.connection.done(self)

    def _write_unframed(self, data: bytes) -> None:
        """Send what is in some chunks."""
        parts, at = [], 0
        while at < len(data):
            begin = data.index(b"\r\n", at) + 2
            end = begin + int(data[at : begin - 2], 16)
            parts.append(data[begin:end])
            at = end + 2
        self._send(b"".join(parts))

    def reset(self) -> Callable[[], None] | None:
        """Drop the connection without a word; what was to be done when the client leaves is returned, once."""
        left, self.on_close = self.on_close, None
        self.connection.transport.abort()
        return left


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other."""

    transport: asyncio.Transport

    def __init__(self, serve: Callable[[Exchange], None], most_body_bytes: int, open_ones: set[Connection]) -> None:
        self._serve, self._most_body_bytes, self._open_ones = serve, most_body_bytes, open_ones
        self._unread = bytearray()
        self._current: Exchange | None = None
        self._coming: Coming | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=MOST_UNREAD_BYTES)
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever writes an answer that nobody reads it."""
        del exc
        self._open_ones.discard(self)
        current, self._current = self._current, None
        if current is not None and current.on_close is not None:
            current.on_close()

    def pause_writing(self) -> None:
        """Drop a client that does not read."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Collect what comes and serve requests that are whole."""
        self._unread += data
        if self._current is not None and len(self._unread) > self._most_body_bytes:
            self.transport.abort()
        self._go_on()

    def done(self, exchange: Exchange) -> None:
        """Note that an answer is complete."""
        self._current = None
        if exchange.headers.get("connection", "").lower() == "close":
            self.transport.close()
        elif self._unread:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._current is not None or not self._unread or self.transport.is_closing():
            return
        try:
            found = self._whole_request()
        except BadRequest as problem:
            refused = Exchange(self, ("GET", "/", ""), {"connection": "close"}, b"")
            refused.respond(problem.status, {"error": {"message": problem.message, "code": problem.status}})
            return
        if found is not None:
            self._current = found
            self._serve(found)

    def _whole_request(self) -> Exchange | None:
        """Return the next request if all of it is here; raises BadRequest."""
        if self._coming is None:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0 or end > MOST_HEAD_BYTES:
                if len(self._unread) > MOST_HEAD_BYTES:
                    raise BadRequest(431, f"the head of a request is longer than {MOST_HEAD_BYTES} bytes")
                return None
            self._coming = Coming(_head(bytes(self._unread[:end])), self._most_body_bytes)
            del self._unread[: end + 4]
            if self._coming.waits and not self._coming.take(self._unread):
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        coming = self._coming
        if not coming.take(self._unread):
            return None
        self._coming = None
        return Exchange(self, coming.words, coming.headers, bytes(coming.body))


class Coming:
    """A request whose head is here; its body is taken as it comes, so that no byte is looked at twice."""

    def __init__(self, head: tuple[Words, dict[str, str]], most_bytes: int) -> None:
        self.words, self.headers = head
        self.body = bytearray()
        self._most_bytes, self._whole = most_bytes, False
        coding = self.headers.get("transfer-encoding")
        self._chunked = coding is not None
        if coding is not None and (coding.lower() != "chunked" or "content-length" in self.headers):
            raise BadRequest(400, "a body comes with content-length or chunked, nothing else")
        self._bytes = 0 if self._chunked else _length(self.headers.get("content-length", "0"), most_bytes)

    @property
    def waits(self) -> bool:
        """Whether the client wants to be told to go on."""
        return self.headers.get("expect", "").lower() == "100-continue"

    def take(self, unread: bytearray) -> bool:
        """Take what belongs to the body and return whether all of it is here; raises BadRequest."""
        if self._chunked:
            while not self._whole and self._take_chunk(unread):
                pass
        elif not self._whole:
            missing = self._bytes - len(self.body)
            self.body += unread[:missing]
            del unread[:missing]
            self._whole = len(self.body) == self._bytes
        return self._whole

    def _take_chunk(self, unread: bytearray) -> bool:
        """Take one chunk if all of it is here."""
        line = unread.find(b"\r\n", 0, MOST_CHUNK_LINE_BYTES)
        if line < 0:
            if len(unread) >= MOST_CHUNK_LINE_BYTES:
                raise BadRequest(400, "a chunk has no size")
            return False
        try:
            size = int(bytes(unread[:line]).split(b";")[0], 16)
        except ValueError:
            raise BadRequest(400, "a chunk has no size") from None
        if size < 0 or len(self.body) + size > self._most_bytes:
            raise BadRequest(413, f"a body may have {self._most_bytes} bytes")
        begin, end = line + 2, line + 2 + size
        if len(unread) < end + 2:
            return False
        self.body += unread[begin:end]
        del unread[: end + 2]
        self._whole = size == 0
        return True


def _head(head: bytes) -> tuple[Words, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        raise BadRequest(400, "the first line is no HTTP request")
    if words[2] not in ("HTTP/1.1", OLD):
        raise BadRequest(505, f"{words[2]} is not spoken here: HTTP/1.1 is")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "a header line is malformed")
        headers[name.lower()] = value.strip()
    if words[2] == OLD:
        headers["connection"] = "close"
    return (words[0], words[1], words[2]), headers


def _length(said: str, most_bytes: int) -> int:
    if not (said.isascii() and said.isdigit()):
        raise BadRequest(400, "content-length is no number")
    if len(said) > 15 or int(said) > most_bytes:
        raise BadRequest(413, f"a body may have {most_bytes} bytes")
    return int(said)
