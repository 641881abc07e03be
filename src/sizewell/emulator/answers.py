"""Answers as clients get them: server-sent events token by token, or one body at the end; one or several choices."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

from sizewell.emulator.asks import Ask, Call
from sizewell.emulator.deployment import Emulation
from sizewell.emulator.http import Exchange, chunk
from sizewell.emulator.probabilities import of_chat, of_completion
from sizewell.emulator.tokens import TOKEN_BYTES, content_seed, pieces
from sizewell.simulator.live import Asked

DONE = b"data: [DONE]\n\n"
OPEN_THINKING, CLOSE_THINKING = b"<think>", b"</think>"
MARK = "\ue000"
"""Where the text goes in the template of an event: a character of private use."""


class Reply:
    """What one request gets: its choices, in one stream as their tokens come, or in one body behind the last."""

    def __init__(self, exchange: Exchange, call: Call, emulation: Emulation) -> None:
        self.exchange, self.call, self.emulation = exchange, call, emulation
        self._id = f"{'chatcmpl' if call.chat else 'cmpl'}-{uuid4().hex}"
        self._created = int(time.time())
        self._begun = False
        self.answers = tuple(Answer(self, index, ask) for index, ask in enumerate(call.asks))
        self._open = len(self.answers)

    def write(self, parts: list[bytes]) -> None:
        """Send chunks of the stream, which begins with the first of them."""
        if not self._begun:
            self._begun = True
            self.exchange.start_stream()
        self.exchange.write(b"".join(parts))

    def end(self) -> None:
        """Note that a choice is complete; with the last one the answer is."""
        self._open -= 1
        if self._open:
            return
        if not self.call.stream:
            self.exchange.respond(200, self._whole())
            return
        last = {**self._envelope(), "choices": [], "usage": self._usage()}
        self.exchange.end_stream((chunk(_event(last)) if self.call.include_usage else b"") + chunk(DONE))

    def fail(self, status: int, body: Any) -> None:
        """End with an error: a status where nothing was sent, else an event in the stream."""
        if self._begun:
            self.exchange.end_stream(chunk(_event(body)) + chunk(DONE))
        else:
            self.exchange.respond(status, body)

    def event(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return the event about one choice."""
        return {**self._envelope(), "choices": [choice]}

    def _envelope(self) -> dict[str, Any]:
        chat = "chat.completion.chunk" if self.call.stream else "chat.completion"
        kind = chat if self.call.chat else "text_completion"
        return {"id": self._id, "object": kind, "created": self._created, "model": self.emulation.name}

    def _whole(self) -> dict[str, Any]:
        return {**self._envelope(), "choices": [each.whole() for each in self.answers], "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        return usage(
            self.call.prompt_tokens,
            sum(each.generated for each in self.answers),
            sum(each.ask.think_tokens for each in self.answers) if any(each.thinks for each in self.answers) else None,
        )


class Answer:
    """One choice of a reply: told how many tokens have come, it sends what the client is to see of them."""

    def __init__(self, reply: Reply, index: int, ask: Ask) -> None:
        self.reply, self.index, self.ask = reply, index, ask
        self.exchange, self.call = reply.exchange, reply.call
        self.generated = 0
        self.text = ask.text
        dialect, thinks = reply.emulation.dialect, reply.call.chat and ask.think_tokens > 0
        self._fields = dialect.reasoning_fields if thinks else ()
        self._tagged = thinks and not self._fields
        # Tokens below the border come in a field of their own; from the last one on they are not sent as those before.
        self._border = ask.think_tokens if self._fields else 0
        plain = self.call.stream and not self.call.counts_always and not self._tagged
        plain = plain and self.call.alternatives is None
        self._last = ask.output_tokens - 1 if plain else 0
        self._ready = b""
        self._thought = _one_token(reply.event(self._choice(self._delta(MARK, thought=True))))
        self._said = _one_token(reply.event(self._choice(self._delta(MARK, thought=False))))

    @property
    def thinks(self) -> bool:
        """Whether thinking comes in a field of its own."""
        return bool(self._fields)

    def asked(self) -> Asked:
        """Return the sequence as the simulator takes it: what it holds and will hold, by name."""
        ask, named = self.ask, self.exchange.headers.get("x-session-id") or self.call.user
        return Asked(
            input_tokens=ask.prompt_tokens, think_tokens=ask.think_tokens, answer_tokens=ask.answer_tokens,
            segments=pieces(ask.prompt + ask.text), session=content_seed(named.encode("utf-8", "replace")) >> 33,
            priority=self.call.priority,
        )  # fmt: skip

    def gain(self, count: int) -> None:
        """Send the next `count` tokens; behind the last one comes the end."""
        before = self.generated
        self.generated = before + count
        ready, self._ready = self._ready, b""
        if count == 1 and ready:
            self.exchange.write(ready)
            return
        if self.call.stream:
            self._send(before)
        if self.generated >= self.ask.output_tokens:
            self.reply.end()

    def prepare(self) -> None:
        """Make the next token's event ready, so that it can be sent the moment the token comes."""
        at = self.generated
        if 0 < at < self._last:
            event = self._thought if at < self._border else self._said
            self._ready = self.text[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES].join(event)

    def whole(self) -> dict[str, Any]:
        """Return the choice as it stands in a body."""
        said = {"message": self._message()} if self.call.chat else {"text": self.ask.echo + self.text.decode()}
        told = self._probabilities(0, self.generated)
        return {"index": self.index, **said, "logprobs": told, "finish_reason": self.ask.finish}

    def _send(self, before: int) -> None:
        """Send the first tokens, the last ones, and those that are part thought and part answer."""
        last = self.generated >= self.ask.output_tokens
        choices = [self._choice(delta) for delta in (self._opening() if before == 0 else ())] + self._deltas(before)
        if last and self.reply.emulation.dialect.finishes_apart:
            choices.append(self._choice({} if self.call.chat else ""))
        choices[-1]["finish_reason"] = self.ask.finish if last else None
        self.reply.write([chunk(_event({**self.reply.event(choice), **self._counted()})) for choice in choices])

    def _counted(self) -> dict[str, Any]:
        return {"usage": usage(self.ask.prompt_tokens, self.generated)} if self.call.counts_always else {}

    def _deltas(self, before: int) -> list[dict[str, Any]]:
        border, after = self._border, self.generated
        spans = ((before, min(after, border), True), (max(before, border), after, False))
        return [
            {
                **self._choice(self._delta(self._text(begin, end), thought=thought)),
                "logprobs": self._probabilities(begin, end),
            }
            for begin, end, thought in spans
            if begin < end
        ]

    def _probabilities(self, begin: int, end: int) -> Any:
        """Return what is told of the tokens' probabilities, None where nobody asked."""
        wanted, text = self.call.alternatives, self.text[begin * TOKEN_BYTES : end * TOKEN_BYTES]
        if wanted is None:
            return None
        offset = len(self.ask.echo) + begin * TOKEN_BYTES
        return of_chat(text, wanted) if self.call.chat else of_completion(text, wanted, offset)

    def _delta(self, text: str, *, thought: bool) -> Any:
        if not self.call.chat:
            return text
        return dict.fromkeys(self._fields, text) if thought else {"content": text}

    def _opening(self) -> list[Any]:
        if self.call.chat:
            return [{"role": "assistant", "content": ""}]
        return [self.ask.echo] if self.ask.echo else []

    def _text(self, begin: int, end: int) -> str:
        text, think = self.text[begin * TOKEN_BYTES : end * TOKEN_BYTES], self.ask.think_tokens
        if self._tagged and begin <= think < end:
            inside = (think - begin) * TOKEN_BYTES
            text = text[:inside] + CLOSE_THINKING + text[inside:]
        return (OPEN_THINKING + text if self._tagged and begin == 0 else text).decode()

    def _choice(self, delta: Any) -> dict[str, Any]:
        said = {"delta": delta} if self.call.chat else {"text": delta}
        return {"index": self.index, **said, "logprobs": None, "finish_reason": None}

    def _message(self) -> dict[str, Any]:
        thought, said = self._text(0, self._border), self._text(self._border, self.generated)
        # A model that was cut off while it thought has not answered.
        return {"role": "assistant", "content": said or None, **dict.fromkeys(self._fields, thought)}


def usage(prompt_tokens: int, output_tokens: int, think_tokens: int | None = None) -> dict[str, Any]:
    """Return tokens as a client is billed for them; those of thinking where they are told apart."""
    counted: dict[str, Any] = {
        "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + output_tokens,
        "completion_tokens": output_tokens,
    }  # fmt: skip
    return counted if think_tokens is None else {
        **counted, "completion_tokens_details": {"reasoning_tokens": think_tokens}
    }  # fmt: skip


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
