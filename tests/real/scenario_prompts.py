"""What the prompts of scenarios say, for every recorder alike: whichever interpreter runs it, this needs nothing."""

from __future__ import annotations

import random
from typing import Any

PROMPT_TOKENS = (2, 2000)
FIRST_ANSWER_TOKEN = 2048
ANSWER_SEGMENTS = 1_000_000
"""A segment id of this or more is the answer of the request with that many less."""


def content(segment: int, tokens: int) -> list[int]:
    """Return the first tokens of a segment: the same for the same id, an answer's own token for an answer."""
    if segment >= ANSWER_SEGMENTS:
        return [FIRST_ANSWER_TOKEN + segment - ANSWER_SEGMENTS] * tokens
    draw = random.Random(f"segment {segment}")
    return [draw.randrange(*PROMPT_TOKENS) for _ in range(tokens)]


def prompt(row: int, request: dict[str, Any]) -> list[int]:
    """Return a request's prompt: its segments, then what is its own and nobody else's."""
    named = [token for segment, tokens in request["segments"] for token in content(segment, tokens)]
    return named + content(-row - 1, request["input_tokens"] - len(named))
