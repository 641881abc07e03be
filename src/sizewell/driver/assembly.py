"""The chunks of a stream put together into the body a server would have sent at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sizewell.driver.failures import ExchangeError
from sizewell.driver.reasoning import field_of
from sizewell.driver.sse import DONE


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
    if not error and body.get("object") != "error":
        return
    said: Mapping[str, Any] = error if isinstance(error, dict) else body
    code = said.get("code")
    message = said.get("message") or str(error)
    raise ExchangeError("status", str(message), code if isinstance(code, int) and code >= 400 else 500)


class Assembly:
    """Collects chunks of chat or text completions, any number of choices."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] | None = None
        self._done = False

    def add(self, chunk: dict[str, Any] | None) -> None:
        """Take one chunk; None is the end mark."""
        if chunk is None:
            self._done = True
            return
        for name in ("id", "model", "created", "system_fingerprint"):
            if chunk.get(name) is not None:
                self._head.setdefault(name, chunk[name])
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)

    def body(self) -> dict[str, Any]:
        """Return the whole body; raises ExchangeError for a stream that ended before its answer did."""
        ended = self._choices and all(choice["finish_reason"] for choice in self._choices.values())
        if not (ended or (self._done and self._choices)):
            raise ExchangeError("truncated", "the stream ended before the answer did")
        chosen = [self._choices[index] for index in sorted(self._choices)]
        usage = {} if self._usage is None else {"usage": self._usage}
        return {**self._head, "choices": [_whole(choice) for choice in chosen], **usage}

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        index = choice.get("index") or 0
        mine = self._choices.setdefault(
            index, {"index": index, "finish_reason": None, "content": [], "reasoning": [], "text": [], "tools": {}}
        )
        mine["finish_reason"] = choice.get("finish_reason") or mine["finish_reason"]
        if isinstance(choice.get("text"), str):
            mine["text"].append(choice["text"])
        delta = choice.get("delta") or {}
        mine["reasoning"].append(field_of(delta))
        mine["content"].append(delta.get("content") or "")
        for call in delta.get("tool_calls") or ():
            _add_call(mine["tools"], call)


def _add_call(calls: dict[int, dict[str, Any]], part: Mapping[str, Any]) -> None:
    function = part.get("function") or {}
    mine = calls.setdefault(part.get("index") or 0, {"function": {"name": "", "arguments": ""}})
    mine.update({key: part[key] for key in ("id", "type") if part.get(key)})
    for name in ("name", "arguments"):
        mine["function"][name] += function.get(name) or ""


def _whole(choice: Mapping[str, Any]) -> dict[str, Any]:
    place = {"index": choice["index"], "finish_reason": choice["finish_reason"]}
    if choice["text"]:
        return {**place, "text": "".join(choice["text"])}
    message: dict[str, Any] = {"role": "assistant", "content": "".join(choice["content"])}
    reasoning = "".join(choice["reasoning"])
    if reasoning:
        message["reasoning"] = reasoning
    if choice["tools"]:
        message["tool_calls"] = [choice["tools"][index] for index in sorted(choice["tools"])]
    return {**place, "message": message}
