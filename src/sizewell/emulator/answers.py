"""Answers as clients get them: server-sent events token by token, or one body at the end."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

from sizewell.emulator.asks import Ask
from sizewell.emulator.deployment import Emulation
from sizewell.emulator.http import Exchange, chunk
from sizewell.emulator.tokens import TOKEN_BYTES

DONE = b"data: [DONE]\n\n"
OPEN_THINKING, CLOSE_THINKING = b"<think>", b"</think>"
MARK = "\ue000"
"""Where the text goes in the template of an event: a character of private use."""


class Answer:
    """The answer to one request: told how many tokens have come, it sends what the client is to see of them."""

    def __init__(self, exchange: Exchange, ask: Ask, emulation: Emulation) -> None:
        self.exchange, self.ask, self.emulation = exchange, ask, emulation
        self.generated = 0
        self.text = ask.text
        self._id = f"{'chatcmpl' if ask.chat else 'cmpl'}-{uuid4().hex}"
        self._created = int(time.time())
        self._fields = emulation.dialect.reasoning_fields if ask.chat and ask.think_tokens else ()
        self._tagged = ask.chat and ask.think_tokens > 0 and not self._fields
        # Tokens below the border come in a field of their own; from the last one on they are not sent as those before.
        self._border = ask.think_tokens if self._fields else 0
        self._last = 0 if self._tagged or not ask.stream else ask.output_tokens - 1
        self._ready = b""
        self._thought = _one_token(self._chunk(self._delta(MARK, thought=True)))
        self._said = _one_token(self._chunk(self._delta(MARK, thought=False)))

    def gain(self, count: int) -> None:
        """Send the next `count` tokens; behind the last one comes the end."""
        before = self.generated
        self.generated = before + count
        if count == 1 and self._ready:
            self.exchange.write(self._ready)
        elif self.ask.stream:
            self._send(before)
        elif self.generated >= self.ask.output_tokens:
            self.exchange.respond(200, self._whole())

    def prepare(self) -> None:
        """Make the next token's event ready, so that it can be sent the moment the token comes."""
        at = self.generated
        if 0 < at < self._last:
            event = self._thought if at < self._border else self._said
            self._ready = self.text[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES].join(event)
        else:
            self._ready = b""

    def fail(self, status: int, body: Any) -> None:
        """End with an error: a status where nothing was sent, else an event in the stream."""
        if self.ask.stream and self.generated > 0:
            self.exchange.end_stream(chunk(_event(body)) + chunk(DONE))
        else:
            self.exchange.respond(status, body)

    def _send(self, before: int) -> None:
        """Send the first tokens, the last ones, and those that are part thought and part answer."""
        parts: list[bytes] = []
        if before == 0:
            self.exchange.start_stream()
            parts += self._opening()
        last = self.generated >= self.ask.output_tokens
        deltas = self._deltas(before)
        finish = self.ask.finish if last else None
        if last and self.emulation.dialect.finishes_apart:
            deltas.append({} if self.ask.chat else "")
        for number, delta in enumerate(deltas, start=1):
            parts.append(chunk(_event(self._chunk(delta, finish if number == len(deltas) else None))))
        if not last:
            self.exchange.write(b"".join(parts))
            return
        if self.ask.include_usage:
            parts.append(chunk(_event({**self._envelope(stream=True), "choices": [], "usage": self._usage()})))
        self.exchange.end_stream(b"".join([*parts, chunk(DONE)]))

    def _deltas(self, before: int) -> list[Any]:
        border, after = self._border, self.generated
        deltas = []
        if before < border:
            deltas.append(self._delta(self._text(before, min(after, border)), thought=True))
        if after > border:
            deltas.append(self._delta(self._text(max(before, border), after), thought=False))
        return deltas

    def _delta(self, text: str, *, thought: bool) -> Any:
        if not self.ask.chat:
            return text
        return dict.fromkeys(self._fields, text) if thought else {"content": text}

    def _opening(self) -> list[bytes]:
        if self.ask.chat:
            return [chunk(_event(self._chunk({"role": "assistant", "content": ""})))]
        return [chunk(_event(self._chunk(self.ask.echo)))] if self.ask.echo else []

    def _text(self, begin: int, end: int) -> str:
        text, think = self.text[begin * TOKEN_BYTES : end * TOKEN_BYTES], self.ask.think_tokens
        if self._tagged and begin <= think < end:
            inside = (think - begin) * TOKEN_BYTES
            text = text[:inside] + CLOSE_THINKING + text[inside:]
        return (OPEN_THINKING + text if self._tagged and begin == 0 else text).decode()

    def _envelope(self, *, stream: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if stream else "chat.completion") if self.ask.chat else "text_completion"
        return {"id": self._id, "object": kind, "created": self._created, "model": self.emulation.name}

    def _chunk(self, delta: Any, finish: str | None = None) -> dict[str, Any]:
        said = {"delta": delta} if self.ask.chat else {"text": delta}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        return {**self._envelope(stream=True), "choices": [choice]}

    def _usage(self) -> dict[str, Any]:
        prompt, output = self.ask.prompt_tokens, self.generated
        usage: dict[str, Any] = {
            "prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output,
        }  # fmt: skip
        if self._fields:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.ask.think_tokens}
        return usage

    def _whole(self) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0}
        if self.ask.chat:
            choice["message"] = self._message()
        else:
            choice["text"] = self.ask.echo + self.text.decode()
        choice |= {"logprobs": None, "finish_reason": self.ask.finish}
        return {**self._envelope(stream=False), "choices": [choice], "usage": self._usage()}

    def _message(self) -> dict[str, Any]:
        thought, said = self._text(0, self._border), self._text(self._border, self.generated)
        # A model that was cut off while it thought has not answered.
        return {"role": "assistant", "content": said or None, **dict.fromkeys(self._fields, thought)}


def _one_token(template: dict[str, Any]) -> list[bytes]:
    """Return the pieces of an event around its text, framed as a chunk for the text of one token."""
    pieces = [part.encode() for part in _written(template).split(json.dumps(MARK)[1:-1])]
    size = sum(map(len, pieces)) + TOKEN_BYTES * (len(pieces) - 1)
    pieces[0] = b"%x\r\n" % size + pieces[0]
    pieces[-1] += b"\r\n"
    return pieces


def _written(body: Any) -> str:
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"


def _event(body: Any) -> bytes:
    return _written(body).encode()
