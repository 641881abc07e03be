"""What a whole body of an answer says: the thinking and the answer apart, why it ended, and the tokens counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizewell.driver.failures import GIVEN_UP, ExchangeError
from sizewell.driver.reasoning import Parts, parted, split


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the server counted them; 0 where it did not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    think_tokens: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Usage:
        """Return the usage of a body."""
        usage = body.get("usage")
        said: Mapping[str, Any] = usage if isinstance(usage, dict) else {}
        details = said.get("completion_tokens_details") or said.get("output_tokens_details")
        think = details.get("reasoning_tokens") if isinstance(details, dict) else said.get("reasoning_tokens")
        return cls(
            input_tokens=_whole(said.get("prompt_tokens", said.get("input_tokens"))),
            output_tokens=_whole(said.get("completion_tokens", said.get("output_tokens"))),
            think_tokens=_whole(think),
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            think_tokens=self.think_tokens + other.think_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer: the raw body, and of its first choice the thinking, the answer and why it ended.

    `calls`: it calls tools, which is an answer without text, as embeddings are.
    """

    body: Mapping[str, Any]
    parts: Parts
    finish_reason: str
    usage: Usage
    request_id: str
    calls: bool = False


def reply_of(body: Mapping[str, Any], request_id: str) -> Reply:
    """Return the reply a body holds: choices, a response or embeddings; raises ExchangeError where it holds none."""
    if isinstance(body.get("output"), list):
        return _response(body, request_id)
    if isinstance(body.get("data"), list) and body["data"]:
        return Reply(
            body=body, parts=Parts("", ""), finish_reason="", usage=Usage.of(body), request_id=request_id, calls=True
        )
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ExchangeError("malformed", "the answer holds no choice")
    first = choices[0]
    message = first.get("message")
    if isinstance(message, dict):
        parts = parted(message)
    elif isinstance(first.get("text"), str):
        parts = split(first["text"])
    else:
        raise ExchangeError("malformed", "the answer's choice holds no text")
    reason = str(first.get("finish_reason") or "")
    if reason in GIVEN_UP:
        raise ExchangeError("truncated", f"the server gave the answer up: finish_reason {reason}")
    calls = isinstance(message, dict) and bool(message.get("tool_calls"))
    return Reply(body=body, parts=parts, finish_reason=reason, usage=Usage.of(body), request_id=request_id, calls=calls)


def _response(body: Mapping[str, Any], request_id: str) -> Reply:
    """Return what a body of /v1/responses holds: items of reasoning, messages, and calls of tools."""
    status, why = body.get("status"), body.get("incomplete_details")
    if status not in ("completed", "incomplete"):
        raise ExchangeError("truncated", f"the response did not come to its end: status {str(status)[:40]}")
    items = [item for item in body["output"] if isinstance(item, dict)]
    thought = [part for item in items if item.get("type") == "reasoning" for part in _texts(item)]
    answer = [part for item in items if item.get("type") == "message" for part in _texts(item)]
    cut = str(why.get("reason") if isinstance(why, dict) else status)
    reason = "stop" if status == "completed" else "length" if cut == "max_output_tokens" else cut
    parts = Parts("".join(thought), "".join(answer)) if thought else split("".join(answer))
    return Reply(
        body=body, parts=parts, finish_reason=reason, usage=Usage.of(body), request_id=request_id,
        calls=any(str(item.get("type")).endswith("_call") for item in items),
    )  # fmt: skip


def _texts(item: Mapping[str, Any]) -> list[str]:
    """Return the texts of an item's parts; of reasoning that is kept back, its summary's."""
    parts = item.get("content") or item.get("summary") or ()
    found = [part.get("text") or part.get("refusal") for part in parts if isinstance(part, dict)]
    return [text for text in found if isinstance(text, str)]


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
