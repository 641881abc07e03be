"""What a client asks for: the body of a chat or completion request, checked and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sizewell.emulator.deployment import Emulation
from sizewell.emulator.dialect import TOO_LONG, Dialect
from sizewell.emulator.fields import Fields, Refusal
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
FARTHEST = 2**62
MOST_CHOICES = 128
"""Answers one request may ask for, over all its prompts."""
STRIDE = 0x9E3779B97F4A7C15
"""Between the seeds of two choices of a prompt: odd, so that they differ."""
JSON = "application/json"
Prompt = tuple[bytes, str]
"""Four bytes a token, and the text where it came as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One sequence as the engine takes it. `prompt` has four bytes a token; the answer thinks first, then speaks."""

    prompt: bytes
    think_tokens: int
    answer_tokens: int
    most_tokens: int
    finish: Literal["stop", "length"]
    seed: int
    echo: str = ""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: `n` choices for each of its prompts, in order; `counts_always` sends usage with every event.

    `alternatives` are the tokens told with their probabilities beside each one chosen, None where none are told.
    """

    chat: bool
    stream: bool
    include_usage: bool
    counts_always: bool
    asks: tuple[Ask, ...]
    n: int = 1
    user: str = ""
    priority: int = 0
    alternatives: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(ask.prompt_tokens for ask in self.asks[:: self.n])


def read_call(data: bytes, kind: str, emulation: Emulation, *, chat: bool) -> Call:
    """Return what a body of a media type asks for; raises Refusal as the engine would."""
    fields = read_fields(data, kind, emulation, chat=chat)
    fields.check_sampling()
    n, prompts = _choices(fields), [chat_prompt(fields)] if chat else _completion_prompts(fields)
    if n * len(prompts) > MOST_CHOICES:
        raise fields.refusal("n", f"times the number of prompts may be {MOST_CHOICES}, got {n * len(prompts)}")
    stream = fields.switch("stream")
    include_usage, counts_always = _wants_usage(fields, stream=stream)
    return Call(
        chat=chat, stream=stream, include_usage=include_usage, counts_always=counts_always, n=n,
        asks=tuple(ask for prompt in prompts for ask in _asks(fields, emulation, prompt, n)),
        user=fields.get("user") or "", priority=_within(fields.whole("priority") or 0),
        alternatives=fields.alternatives(),
    )  # fmt: skip


def read_fields(data: bytes, kind: str, emulation: Emulation, *, chat: bool) -> Fields:
    """Return the fields of a body of a media type for a model that is served; raises Refusal."""
    fields = Fields(_object(data, kind, emulation.dialect), emulation.dialect, chat)
    _check_model(fields, emulation)
    return fields


def _within(priority: int) -> int:
    """Return a priority as the simulator can hold it: who lies beyond comes with the last."""
    return max(-FARTHEST, min(priority, FARTHEST))


def _object(data: bytes, kind: str, dialect: Dialect) -> dict[str, Any]:
    if kind.partition(";")[0].strip().lower() != JSON:
        raise Refusal(400, dialect.error(400, f"the body must be {JSON}: say so in the header content-type"))
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(400, dialect.error(400, "the body is not JSON")) from None
    if not isinstance(body, dict):
        raise Refusal(400, dialect.error(400, "the body is not a JSON object"))
    return body


def _check_model(fields: Fields, emulation: Emulation) -> None:
    named = fields.get("model")
    if not isinstance(named, str | None):
        raise fields.refusal("model", "must be a text")
    if named is not None and named != emulation.name and not emulation.dialect.takes_any_name:
        message, kind = emulation.dialect.unknown_model(named)
        raise Refusal(404, emulation.dialect.error(404, message, kind, "model"))


def _choices(fields: Fields) -> int:
    n, best_of = fields.whole("n"), fields.whole("best_of")
    n = 1 if n is None else n
    if not 1 <= n <= MOST_CHOICES:
        raise fields.refusal("n", f"must lie between 1 and {MOST_CHOICES}, got {n}")
    if best_of not in (None, 1, n):
        raise fields.refusal("best_of", "must be n: the emulator gives every answer it generates")
    return n


def _asks(fields: Fields, emulation: Emulation, prompt: Prompt, n: int) -> Iterator[Ask]:
    """Yield the choices of a prompt: the first is what it gets alone."""
    data, text = prompt
    asked, tokens = _asked_tokens(fields), len(data) // TOKEN_BYTES
    room = emulation.max_model_len_tokens - tokens
    if room < (1 if emulation.dialect.stops_at_limit else max(asked or 1, 1)):
        said = fields.dialect.too_long(emulation.max_model_len_tokens, tokens, asked)
        raise Refusal(400, fields.dialect.error(400, said, param=TOO_LONG))
    most, named = room if asked is None else min(asked, room), content_seed(data)
    for number in range(n):
        seed = (named + number * STRIDE) % 2**64
        think, answer, finish = _lengths(fields, emulation, seed, most)
        yield Ask(
            prompt=data, think_tokens=think if fields.chat else 0, answer_tokens=answer + (0 if fields.chat else think),
            most_tokens=most, finish=finish, seed=seed, echo=text if fields.switch("echo") else "",
        )  # fmt: skip


def chat_prompt(fields: Fields) -> Prompt:
    """Return a conversation as the engine sees it; raises Refusal for what is none."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise fields.refusal("messages", "must be a list of at least one message")
    return chat_as_bytes([_message(fields, place, each) for place, each in enumerate(messages)]), ""


def _message(fields: Fields, place: int, message: dict[str, Any]) -> tuple[str, str]:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        raise fields.refusal("messages", f"need a role each: that of messages[{place}] is no text")
    parts = content if isinstance(content, list) else []
    good = isinstance(content, str | list | None) and all(
        isinstance(part, str) or (isinstance(part, dict) and isinstance(part.get("text", ""), str)) for part in parts
    )
    if not good:
        raise fields.refusal("messages", f"need text or parts: messages[{place}].content is neither")
    return role, text_of(content)


def _completion_prompts(fields: Fields) -> list[Prompt]:
    """Return the prompts: one text or one list of token ids, or a list of either."""
    prompt = fields.get("prompt")
    many = isinstance(prompt, list) and prompt and not all(is_token(each) for each in prompt)
    return [_completion_prompt(fields, each) for each in prompt] if many else [_completion_prompt(fields, prompt)]


def _completion_prompt(fields: Fields, prompt: Any) -> Prompt:
    if isinstance(prompt, str) and prompt:
        return padded(prompt.encode("utf-8", "surrogatepass")), prompt
    if isinstance(prompt, list) and prompt and all(is_token(each) for each in prompt):
        return ids_as_bytes(prompt), ""
    raise fields.refusal("prompt", "must be a text, a list of token ids, or a list of one of these")


def is_token(value: Any) -> bool:
    """Whether something is the id of a token."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKEN


def _asked_tokens(fields: Fields) -> int | None:
    """Return the most tokens the client wants; None: as many as there is room for."""
    names = ("max_completion_tokens", "max_tokens") if fields.chat else ("max_tokens",)
    found = next((each for name in names if (each := fields.whole(name)) is not None), None)
    if found is None:
        return None if fields.chat or fields.dialect.stops_at_limit else DEFAULT_COMPLETION_TOKENS
    if found < 1:
        raise fields.refusal("max_tokens", f"must be at least 1, got {found}.")
    return found


def _lengths(fields: Fields, emulation: Emulation, seed: int, most: int) -> tuple[int, int, Literal["stop", "length"]]:
    """Return think and answer tokens and why they end: as the model would, within what the client allows."""
    think, answer = natural_lengths(emulation.lengths, seed)
    least = fields.whole("min_tokens") or 0
    if not 0 <= least <= most:
        raise fields.refusal("min_tokens", f"must lie between 0 and max_tokens, got {least}.")
    wanted = max(think + answer, least)
    if fields.switch("ignore_eos") or wanted > most:
        return min(think, most), most - min(think, most), "length"
    return think, wanted - think, "stop"


def _wants_usage(fields: Fields, *, stream: bool) -> tuple[bool, bool]:
    """Return whether usage comes at the end of a stream, and whether with each event."""
    options = fields.get("stream_options")
    if options is None:
        return False, False
    if not isinstance(options, dict):
        raise fields.refusal("stream_options", "must be an object")
    if options and not stream and fields.dialect.engine == "vllm":
        raise fields.refusal("stream_options", "go with stream: true")
    include = options.get("include_usage") is True
    return include, include and options.get("continuous_usage_stats") is True
