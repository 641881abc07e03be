"""What a client asks for: the body of a chat or completion request, checked and counted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from sizewell.emulator.deployment import Emulation
from sizewell.emulator.dialect import Dialect
from sizewell.emulator.tokens import (
    TOKEN_BYTES,
    answer_text,
    chat_as_bytes,
    content_seed,
    ids_as_bytes,
    natural_lengths,
    padded,
    text_of,
)

DEFAULT_COMPLETION_TOKENS = 16
"""What a completion without `max_tokens` gets."""
MOST_TOKEN = 2**32


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request as the engine takes it. `prompt` has four bytes a token; the answer thinks first, then speaks."""

    chat: bool
    prompt: bytes
    think_tokens: int
    answer_tokens: int
    most_tokens: int
    finish: Literal["stop", "length"]
    seed: int
    stream: bool
    include_usage: bool
    echo: str = ""
    user: str = ""
    priority: int = 0

    @property
    def text(self) -> bytes:
        """What is answered, thinking first, four bytes a token; the same prompt gets the same."""
        return answer_text(self.seed, self.output_tokens)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt) // TOKEN_BYTES

    @property
    def output_tokens(self) -> int:
        """Tokens to generate, thinking among them."""
        return self.think_tokens + self.answer_tokens


def read_ask(data: bytes, emulation: Emulation, *, chat: bool) -> Ask:
    """Return what a body asks for; raises Refusal as the engine would."""
    dialect = emulation.dialect
    body = _object(data, dialect)
    _check_model(body, emulation)
    _check_single(body, dialect)
    prompt = _chat_prompt(body, dialect) if chat else _completion_prompt(body, dialect)
    asked = _asked_tokens(body, dialect, chat=chat)
    room = emulation.max_model_len_tokens - len(prompt) // TOKEN_BYTES
    if room < max(asked or 1, 1):
        said = dialect.too_long(emulation.max_model_len_tokens, len(prompt) // TOKEN_BYTES, asked)
        raise Refusal(400, dialect.error(400, said, param="input_tokens"))
    seed = content_seed(prompt)
    most = asked if asked is not None else room
    think, answer, finish = _lengths(body, emulation, seed, most)
    stream = _switch(body, "stream", dialect)
    return Ask(
        chat=chat, prompt=prompt, think_tokens=think if chat else 0, answer_tokens=answer + (0 if chat else think),
        most_tokens=most, finish=finish, seed=seed, stream=stream,
        include_usage=_wants_usage(body, dialect, stream=stream), echo=_echo(body, dialect, chat=chat),
        user=str(body.get("user") or ""), priority=_whole(body, "priority", dialect) or 0,
    )  # fmt: skip


def _object(data: bytes, dialect: Dialect) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(400, dialect.error(400, "the body is not JSON")) from None
    if not isinstance(body, dict):
        raise Refusal(400, dialect.error(400, "the body is not a JSON object"))
    return body


def _check_model(body: dict[str, Any], emulation: Emulation) -> None:
    named = body.get("model")
    # SGLang serves whatever it holds, under any name.
    if named is not None and named != emulation.name and emulation.dialect.engine != "sglang":
        message, kind = emulation.dialect.unknown_model(str(named))
        raise Refusal(404, emulation.dialect.error(404, message, kind, "model"))


def _check_single(body: dict[str, Any], dialect: Dialect) -> None:
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise Refusal(400, dialect.error(400, f"{name} must be 1: the emulator gives one answer", param=name))


def _chat_prompt(body: dict[str, Any], dialect: Dialect) -> bytes:
    messages = body.get("messages")
    good = isinstance(messages, list) and messages and all(isinstance(each, dict) for each in messages)
    if not good:
        raise Refusal(400, dialect.error(400, "messages must be a list of at least one message", param="messages"))
    return chat_as_bytes([(str(each.get("role", "user")), text_of(each.get("content"))) for each in messages or []])


def _completion_prompt(body: dict[str, Any], dialect: Dialect) -> bytes:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return padded(prompt.encode("utf-8", "surrogatepass"))
    if isinstance(prompt, list) and prompt and all(_is_token(each) for each in prompt):
        return ids_as_bytes(prompt)
    raise Refusal(400, dialect.error(400, "prompt must be one text or one list of token ids", param="prompt"))


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKEN


def _asked_tokens(body: dict[str, Any], dialect: Dialect, *, chat: bool) -> int | None:
    """Return the most tokens the client wants; None: as many as there is room for."""
    names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
    found = next((each for name in names if (each := _whole(body, name, dialect)) is not None), None)
    if found is None:
        return None if chat else DEFAULT_COMPLETION_TOKENS
    if found < 1:
        raise Refusal(400, dialect.error(400, f"max_tokens must be at least 1, got {found}.", param="max_tokens"))
    return found


def _lengths(
    body: dict[str, Any], emulation: Emulation, seed: int, most: int
) -> tuple[int, int, Literal["stop", "length"]]:
    """Return think and answer tokens and why they end: as the model would, within what the client allows."""
    think, answer = natural_lengths(emulation.lengths, seed)
    least = _whole(body, "min_tokens", emulation.dialect) or 0
    if not 0 <= least <= most:
        raise _refusal(emulation.dialect, "min_tokens", f"must lie between 0 and max_tokens, got {least}.")
    wanted = max(think + answer, least)
    if _switch(body, "ignore_eos", emulation.dialect) or wanted > most:
        return min(think, most), most - min(think, most), "length"
    return think, wanted - think, "stop"


def _whole(body: dict[str, Any], name: str, dialect: Dialect) -> int | None:
    value = body.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Refusal(400, dialect.error(400, f"{name} must be a whole number", param=name))


def _switch(body: dict[str, Any], name: str, dialect: Dialect) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _refusal(dialect, name, "must be true or false")


def _wants_usage(body: dict[str, Any], dialect: Dialect, *, stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _refusal(dialect, "stream_options", "must be an object")
    if options and not stream and dialect.engine != "sglang":
        raise _refusal(dialect, "stream_options", "go with stream: true")
    return options.get("include_usage") is True


def _refusal(dialect: Dialect, name: str, why: str) -> Refusal:
    return Refusal(400, dialect.error(400, f"{name} {why}", param=name))


def _echo(body: dict[str, Any], dialect: Dialect, *, chat: bool) -> str:
    prompt = body.get("prompt")
    return prompt if not chat and _switch(body, "echo", dialect) and isinstance(prompt, str) else ""
