"""The chunks of a stream put together into the body a server would have sent at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sizewell.driver.failures import ExchangeError
from sizewell.driver.reasoning import FIELDS, content_of
from sizewell.driver.sse import DONE

SAID_WHOLE = ("role", "finish_reason", "stop_reason", "id", "type")
"""Fields that come whole, and with some servers in every chunk."""
ENDS_OF_RESPONSES = ("response.completed", "response.incomplete", "response.failed")
"""Events of /v1/responses that carry the whole body; those before tell its pieces."""


def chunk_of(data: bytes) -> dict[str, Any] | None:
    """Return one event as an object, None for the end mark; raises ExchangeError for an error the stream reports."""
    if data.strip() == DONE:
        return None
    try:
        chunk = json.loads(data.decode())  # of bytes, json would guess the encoding of every chunk
    except (ValueError, RecursionError) as error:
        raise ExchangeError("malformed", f"a chunk of the stream is no JSON: {error}") from None
    if not isinstance(chunk, dict):
        raise ExchangeError("malformed", "a chunk of the stream is no JSON object")
    refuse_error(chunk)
    return chunk


def refuse_error(body: Mapping[str, Any]) -> None:
    """Raise ExchangeError where a body of status 200 is an error; its own code says whether to ask again."""
    error = body.get("error")
    if not error and body.get("object") != "error" and body.get("type") != "error":
        return
    said: Mapping[str, Any] = error if isinstance(error, dict) else body
    message = said.get("message") or str(error)
    raise ExchangeError("status", str(message), _status(said.get("code")))


def _status(code: object) -> int:
    """Return the status an error names, as a number or, behind some proxies, in digits; 500 where it names none."""
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and re.fullmatch("[45][0-9]{2}", code)) else 0
    return status if status >= 400 else 500


class Assembly:
    """Collects chunks of completions, any number of choices, or events of a response.

    Raises ExchangeError for one of no shape.
    """

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Any] | None = None
        self._response: dict[str, Any] | None = None
        self._done = False

    def add(self, chunk: dict[str, Any] | None) -> None:
        """Take one chunk; None is the end mark."""
        if chunk is None:
            self._done = True
            return
        if chunk.get("type") in ENDS_OF_RESPONSES:
            self._response = dict(_object(chunk.get("response")))
        for name in ("id", "object", "model", "created", "system_fingerprint"):
            if chunk.get(name) is not None:
                self._head.setdefault(name, chunk[name])
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        for choice in _list(chunk.get("choices")):
            index = _index(choice)
            self._choices.setdefault(index, _Choice()).add(choice)

    def body(self) -> dict[str, Any]:
        """Return the whole body; raises ExchangeError for a stream that ended before its answer did."""
        if self._response is not None:
            return self._response
        ended = self._choices and all(choice.ended for choice in self._choices.values())
        if not (ended or (self._done and self._choices)):
            raise ExchangeError("truncated", "the stream ended before the answer did")
        kind = {name: str(self._head[name]).removesuffix(".chunk") for name in ("object",) if name in self._head}
        usage = {} if self._usage is None else {"usage": self._usage}
        choices = [{"index": index, **choice.whole()} for index, choice in sorted(self._choices.items())]
        return {**self._head, **kind, "choices": choices, **usage}


class _Choice:
    """One choice while it comes: texts are joined, lists lengthened, of all else the last is kept."""

    __slots__ = ("_message", "_own", "_tools")

    def __init__(self) -> None:
        self._own: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": _Pieces()}
        self._tools: dict[int, dict[str, Any]] = {}

    @property
    def ended(self) -> bool:
        """Whether the server said why it ended."""
        return bool(self._own.get("finish_reason"))

    def add(self, choice: Mapping[str, Any]) -> None:
        """Take one piece."""
        _grow(self._own, {name: value for name, value in choice.items() if name not in ("index", "delta")})
        delta = dict(_object(choice.get("delta") or {}))
        for call in _list(delta.pop("tool_calls", None)):
            mine = self._tools.setdefault(_index(call), {})
            _grow(mine, {name: value for name, value in call.items() if name != "index"})
        if isinstance(delta.get("content"), list):
            thought, delta["content"] = content_of(delta["content"])
            _grow(self._message, {FIELDS[0]: thought or None})
        _grow(self._message, delta)

    def whole(self) -> dict[str, Any]:
        """Return the choice as it would have come at once."""
        own = {"finish_reason": None, **_joined(self._own)}
        if "text" in own:
            return own
        tools = {"tool_calls": [_joined(self._tools[index]) for index in sorted(self._tools)]} if self._tools else {}
        return {**own, "message": {**_joined(self._message), **tools}}


class _Pieces(list[str]):
    """A text that comes in pieces."""


def _grow(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what a chunk says to what earlier ones said."""
    for name, value in more.items():
        if isinstance(value, str) and name not in SAID_WHOLE:
            _same(into.setdefault(name, _Pieces()), _Pieces).append(value)
        elif isinstance(value, dict):
            _grow(_same(into.setdefault(name, {}), dict), value)
        elif isinstance(value, list):
            _same(into.setdefault(name, []), list).extend(value)
        elif value is not None and value != "":
            into[name] = value


def _joined(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "".join(value) if isinstance(value, _Pieces) else _joined(value) if isinstance(value, dict) else value
            for name, value in found.items()}  # fmt: skip


def _same(found: Any, kind: type) -> Any:
    if type(found) is not kind:
        raise ExchangeError("malformed", "a chunk of the stream says otherwise than those before what a field is")
    return found


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ExchangeError("malformed", f"a chunk of the stream holds {str(value)[:40]!r} for an object")
    return value


def _list(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list; a missing one is empty."""
    if value is not None and not isinstance(value, list):
        raise ExchangeError("malformed", f"a chunk of the stream holds {str(value)[:40]!r} for a list")
    return [_object(one) for one in value or ()]


def _index(value: Mapping[str, Any]) -> int:
    index = value.get("index") or 0
    if not isinstance(index, int):
        raise ExchangeError("malformed", f"a chunk of the stream has the index {str(index)[:40]!r}")
    return index
