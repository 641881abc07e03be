"""One bounded HTTP exchange with a server that may be starting, overloaded, hostile or gone."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

from sizewell.specs.address import Secret

MOST_BODY_BYTES = 2**20
_SHOWN_CHARACTERS = 300


class NoAnswerError(Exception):
    """Nothing usable came back; `listens` says whether somebody took the connection."""

    def __init__(self, message: str, *, listens: bool) -> None:
        super().__init__(message)
        self.listens = listens


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status and at most 1 MiB of body."""

    status: int
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def message(self) -> str:
        """What an error body says: OpenAI's shape, older vLLM's, FastAPI's, or the text itself; one line."""
        error = self.json.get("error")
        said = error.get("message") if isinstance(error, dict) else error
        said = said or self.json.get("message") or self.json.get("detail") or self.body.decode("utf-8", "replace")
        return " ".join(str(said).split())[:_SHOWN_CHARACTERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A base URL, the key to show there and the moment, by the monotonic clock, when patience ends."""

    url: str
    secret: Secret = field(default_factory=Secret)
    until_s: float

    def get(self, path: str) -> Answer:
        """Return the answer to a GET; raises NoAnswerError."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Return the answer to a POST of JSON; raises NoAnswerError."""
        return self._exchange("POST", path, json.dumps(body).encode())

    def _exchange(self, method: str, path: str, body: bytes | None) -> Answer:
        """Redirects are not followed: the key goes nowhere else."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._left_s())
        cut = Timer(0.0, lambda: None)
        try:
            cut = self._connect(connection)
            headers = {"Accept": "application/json", **self.secret.headers}
            headers |= {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, parts.path + path, body=body, headers=headers)
            response = connection.getresponse()
            answer = Answer(status=response.status, body=_bounded(response))
            self._left_s()
            return answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._left_s()
            said = self.secret.hide(f"connection broken: {type(error).__name__} {error}".strip())
            raise NoAnswerError(said, listens=True) from None
        finally:
            cut.cancel()
            connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> Timer:
        """Connect; return the clock that cuts the line: a socket's own timeout starts again with every byte."""
        try:
            connection.connect()
        except OSError as error:
            raise NoAnswerError(f"cannot connect: {error.strerror or error}", listens=False) from None
        cut = Timer(self._left_s(), _hang_up, (connection.sock,))
        cut.daemon = True
        cut.start()
        return cut

    def _left_s(self) -> float:
        left = self.until_s - time.monotonic()
        if left <= 0:
            raise NoAnswerError("no whole answer in time", listens=True)
        return left


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):  # it was closed in the meantime
        connected.shutdown(socket.SHUT_RDWR)


def _bounded(response: http.client.HTTPResponse) -> bytes:
    found = response.read(MOST_BODY_BYTES + 1)
    if len(found) > MOST_BODY_BYTES:
        raise NoAnswerError(f"an answer exceeds {MOST_BODY_BYTES} bytes", listens=True)
    return found
