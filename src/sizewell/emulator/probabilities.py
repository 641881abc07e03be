"""Made-up probabilities of filler tokens, in the shapes clients read."""

from __future__ import annotations

from itertools import islice
from math import log
from typing import Any

from sizewell.emulator.tokens import TOKEN_BYTES, usual_tokens, whole_tokens

CHOSEN = 0.9
"""Probability of each token that is given; every alternative has half of what is left by those before it."""


def of_chat(text: bytes, alternatives: int) -> Any:
    """Return what a chat tells of some tokens."""
    return {
        "content": [
            {**_entry(token, log(CHOSEN)), "top_logprobs": [_entry(*each) for each in _likeliest(token, alternatives)]}
            for token in _split(text)
        ]
    }


def of_completion(text: bytes, alternatives: int, offset: int) -> Any:
    """Return what a completion tells of some tokens, the first of which stands `offset` letters behind its begin."""
    tokens = _split(text)
    return {
        "text_offset": [offset + at * TOKEN_BYTES for at in range(len(tokens))],
        "token_logprobs": [log(CHOSEN)] * len(tokens),
        "tokens": tokens,
        "top_logprobs": [dict(_likeliest(token, max(alternatives, 1))) for token in tokens],
    }


def _split(text: bytes) -> list[str]:
    return [token.decode() for token in whole_tokens(text)]


def _likeliest(chosen: str, count: int) -> list[tuple[str, float]]:
    """Return tokens with the logarithms of their probabilities, the likeliest first."""
    others = islice((token for token in usual_tokens() if token != chosen), max(count - 1, 0))
    ranked = [(token, log((1 - CHOSEN) / 2**place)) for place, token in enumerate(others, start=1)]
    return [(chosen, log(CHOSEN)), *ranked][:count]


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
