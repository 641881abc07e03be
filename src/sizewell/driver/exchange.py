"""One prompt to one server and back: the body it sent, the thinking and the answer apart, the tokens it counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizewell.driver.assembly import Assembly, chunk_of, refuse_error
from sizewell.driver.client import Client, encoded, read_json
from sizewell.driver.failures import GIVEN_UP, ExchangeError
from sizewell.driver.prompts import Prompt
from sizewell.driver.reasoning import Parts, parted, split
from sizewell.driver.sse import EventParser


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
        details = said.get("completion_tokens_details")
        think = details.get("reasoning_tokens") if isinstance(details, dict) else said.get("reasoning_tokens")
        return cls(
            input_tokens=_whole(said.get("prompt_tokens")),
            output_tokens=_whole(said.get("completion_tokens")),
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
    """A whole answer: the raw body, and of its first choice the thinking, the answer and why it ended."""

    body: Mapping[str, Any]
    parts: Parts
    finish_reason: str
    usage: Usage
    request_id: str


async def ask(client: Client, base: str, prompt: Prompt, *, stream: bool = False) -> Reply:
    """Return the reply to a prompt; raises ExchangeError where there is none.

    Whether the body arrives as a stream is the server's word, its content type; what was asked where that says neither.
    """
    body = dict(prompt.body)
    if stream or body.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True, **(body.get("stream_options") or {})}}
    async with client.post(base + prompt.path, encoded(body)) as response:
        kind = response.headers.get("Content-Type", "")
        streamed = "event-stream" in kind or (bool(body.get("stream")) and "json" not in kind)
        found = await _streamed(response) if streamed else await read_json(response)
        refuse_error(found)
        request_id = response.headers.get("x-request-id") or str(found.get("id") or "")
    return reply_of(found, request_id)


async def _streamed(response: Any) -> dict[str, Any]:
    parser, whole = EventParser(), Assembly()
    async for piece in response.content.iter_any():
        for data in parser.feed(piece):
            whole.add(chunk_of(data))
    for data in parser.close():
        whole.add(chunk_of(data))
    return whole.body()


async def refuse_whole(response: Any) -> None:
    """Raise ExchangeError for a body that is no stream where one was asked for: an error, or an answer sent at once."""
    if "json" in response.headers.get("Content-Type", ""):
        refuse_error(await read_json(response))
        raise ExchangeError("malformed", "the answer came at once and not as a stream")


def reply_of(body: Mapping[str, Any], request_id: str) -> Reply:
    """Return the reply a body holds; raises ExchangeError where it holds none."""
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
    return Reply(body=body, parts=parts, finish_reason=reason, usage=Usage.of(body), request_id=request_id)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
