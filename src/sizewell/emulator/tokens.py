"""Tokens without a tokenizer: four bytes of text are one token, and a token id is one token.

Prompts and answers become strings of bytes, four to a token. They are cut at fixed places into pieces named by their
content, so that the simulator's prefix cache finds what two requests begin with, whoever sent them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from math import exp
from typing import Any

import numpy as np

from sizewell.emulator.deployment import Lengths

TOKEN_BYTES = 4
FIRST_PIECE_TOKENS = 16
GROWTH = 16
"""A piece is a sixteenth of what lies before it: what is shared is known to 6 %, however long a prompt is."""
MOST_PIECES = 190
ROLE_TOKENS = 4
"""What a chat template writes around a message."""
WORDS = (
    " the sun set red and the sea was dim but one old man sat far off now her dog ran out for him all day you may say "
    "how they see it now not yet ask who why let two new men try his way"
)


def padded(data: bytes) -> bytes:
    """Return a text filled up to whole tokens."""
    return data + b" " * (-len(data) % TOKEN_BYTES)


def ids_as_bytes(ids: Sequence[int]) -> bytes:
    """Return token ids as bytes, four to a token."""
    return np.asarray(ids, dtype=np.int64).astype("<u4").tobytes()


def bytes_as_ids(data: bytes) -> list[int]:
    """Return the token ids of whole tokens."""
    return np.frombuffer(data, dtype="<u4").tolist()  # type: ignore[no-any-return]


def whole_tokens(data: bytes) -> list[bytes]:
    """Return the tokens of a text."""
    return [data[at : at + TOKEN_BYTES] for at in range(0, len(data), TOKEN_BYTES)]


def chat_as_bytes(messages: Sequence[tuple[str, str]]) -> bytes:
    """Return a conversation as a chat template would write it: each message behind its role, the next one opened."""
    parts: list[bytes] = []
    for role, text in messages:
        parts += [role_bytes(role), padded(text.encode("utf-8", "surrogatepass"))]
    return b"".join([*parts, role_bytes("assistant")])


def role_bytes(role: str) -> bytes:
    """Return what a chat template writes before a message."""
    width = ROLE_TOKENS * TOKEN_BYTES
    return f"\n<{role}>"[:width].ljust(width).encode("ascii", "replace")


@cache
def _borders() -> tuple[int, ...]:
    borders = [0]
    for _ in range(MOST_PIECES):
        size = max(FIRST_PIECE_TOKENS, borders[-1] // GROWTH // FIRST_PIECE_TOKENS * FIRST_PIECE_TOKENS)
        borders.append(borders[-1] + size)
    return tuple(borders)


def pieces(data: bytes) -> tuple[tuple[int, int], ...]:
    """Return the pieces of whole tokens, each by the name of its content and its number of tokens."""
    found: list[tuple[int, int]] = []
    total = len(data) // TOKEN_BYTES
    for begin, border in zip(_borders(), _borders()[1:], strict=False):
        if begin >= total:
            break
        end = min(border, total)
        part = data[begin * TOKEN_BYTES : end * TOKEN_BYTES]
        found.append((int.from_bytes(blake2b(part, digest_size=8).digest(), "little") >> 2, end - begin))
    return tuple(found)


@cache
def _book() -> bytes:
    """A long text of four bytes a token: three letters and the blank before them."""
    words = [word[:3].ljust(3, "s") for word in WORDS.split()]
    picked = np.random.default_rng(0).integers(len(words), size=1 << 16)
    return "".join(f" {words[each]}" for each in picked).encode()


def answer_text(seed: int, tokens: int) -> bytes:
    """Return the text of an answer: the same for the same seed, four bytes for each token, plain ASCII letters."""
    book = _book()
    start = seed % (len(book) // TOKEN_BYTES) * TOKEN_BYTES
    needed = tokens * TOKEN_BYTES
    return (book[start:] + book * (needed // len(book) + 1))[:needed]


@cache
def usual_tokens() -> tuple[str, ...]:
    """Return every token that answers are made of."""
    return tuple(sorted({f" {word[:3].ljust(3, 's')}" for word in WORDS.split()}))


def natural_lengths(lengths: Lengths, seed: int) -> tuple[int, int]:
    """Return the think and answer tokens the model would give a prompt by itself."""
    draw = np.random.default_rng([lengths.seed, seed % 2**32]).standard_normal(2) if lengths.sigma else (0.0, 0.0)
    shift = -0.5 * lengths.sigma**2
    think, answer = (
        round(mean * exp(lengths.sigma * float(normal) + shift))
        for mean, normal in zip((lengths.think_tokens, lengths.answer_tokens), draw, strict=True)
    )
    return think, max(1, answer)


def content_seed(data: bytes) -> int:
    """Return a number that is the same for the same prompt."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or parts of which only text counts; other parts become ''."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
