"""Prompts of a wanted length, whose shared beginnings are equal and whose rest nobody has sent before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sizewell.driver.client import encoded
from sizewell.driver.prompts import CHAT, COMPLETIONS
from sizewell.traffic.requests import Ints, Requests

Api = Literal["completions", "chat"]
OWN, SHARED = 0, 1
WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company",
    "system", "program", "question", "work", "number", "night", "point", "home", "water", "room", "mother", "area",
    "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
    "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game", "line", "end",
    "member", "law", "car", "city", "name", "team", "minute", "idea", "body", "back", "parent", "face", "level",
    "office", "door", "health", "person", "art", "war", "history", "party", "result", "change", "morning", "reason",
    "research", "girl", "guy", "moment", "air", "teacher",
)  # fmt: skip
"""One token each in the vocabularies in use, with the space before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How prompts are made: as token ids, whose number is exact, or as a chat of words, whose number is close.

    `salt`: another one, other prompts of the same lengths, so that a second run finds nothing in a prefix cache.
    `vocabulary`: ids are drawn below it, above its first quarter, where no control token lies.
    `template_tokens`: what a chat template adds, taken off the words.
    """

    model: str
    salt: int
    api: Api = "completions"
    vocabulary: int = 32_000
    template_tokens: int = 0
    ignore_eos: bool = True
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where requests go."""
        return COMPLETIONS if self.api == "completions" else CHAT

    def body(self, requests: Requests, row: int) -> bytes:
        """Return one request as it is sent."""
        ids = self.ids(requests, row)
        said: dict[str, Any] = {"prompt": ids.tolist()}
        if self.api == "chat":
            words = ids[min(self.template_tokens, len(ids) - 1) :]
            said = {"messages": [{"role": "user", "content": " ".join(WORDS[one % len(WORDS)] for one in words)}]}
        return encoded({
            "model": self.model,
            **said,
            "max_tokens": int(requests.output_tokens[row]),
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"ignore_eos": True} if self.ignore_eos else {}),
            **self.fields,
        })  # fmt: skip

    def ids(self, requests: Requests, row: int) -> Ints:
        """Return the token ids of a row's prompt: equal segments give equal ids, the rest is the row's own."""
        start, end = requests.segment_start[row], requests.segment_start[row + 1]
        shared = [
            self._drawn((SHARED, int(name)), int(tokens))
            for name, tokens in zip(requests.segment_id[start:end], requests.segment_tokens[start:end], strict=True)
        ]
        rest = int(requests.input_tokens[row]) - sum(map(len, shared))
        return np.concatenate([*shared, self._drawn((OWN, row), rest)])

    def _drawn(self, name: tuple[int, int], count: int) -> Ints:
        rng = np.random.default_rng([self.salt, *name])
        return rng.integers(self.vocabulary // 4, self.vocabulary, count)
