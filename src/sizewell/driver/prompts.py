"""Prompts as requests with an identity: what they ask, not where they stand in a file, says which they are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sizewell.specs.errors import BadInputError

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"
ASKS: Mapping[str, str] = {CHAT: "messages", COMPLETIONS: "prompt", RESPONSES: "input", EMBEDDINGS: "input"}
"""Where a batch asks, and the field of a body that says what."""
SHORT_KEY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request as a file states it. `own_id` is empty where the file gives none; `place` is for messages."""

    own_id: str
    body: Mapping[str, Any]
    place: str
    path: str = CHAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request to send. `key` is the hash of its id, path and whole body: resuming recognises it by nothing else."""

    key: str
    custom_id: str
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """All requests of an input, in its order. `repeated`: rows left out because they repeat another, id and all."""

    prompts: tuple[Prompt, ...]
    repeated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What rows leave open: the model and sampling fields; a row's own win, but not over a model that was `named`."""

    model: str
    named: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    def body(self, row: Row) -> dict[str, Any]:
        """Return a row's body as it is sent; `max_tokens` has another name for responses, embeddings sample nothing."""
        fields = dict(self.fields)
        if row.path == EMBEDDINGS:
            fields = {name: value for name, value in fields.items() if name not in ("max_tokens", "temperature")}
        elif row.path == RESPONSES and "max_tokens" in fields:
            fields["max_output_tokens"] = fields.pop("max_tokens")
        body = {"model": self.model, **fields, **row.body}
        return body | {"model": self.model} if self.named else body


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part `index` (from 0) of `count`; prompts fall to shards by their key, so that every run agrees."""

    index: int = 0
    count: int = 1

    def holds(self, key: str) -> bool:
        """Return whether a prompt is this shard's to ask."""
        return int(key[:SHORT_KEY], 16) % self.count == self.index


def prompts_of(rows: Iterable[Row], asking: Asking) -> Prompts:
    """Return the requests that rows ask for.

    A row with an id of its own that repeats another word for word is asked once. Rows without ids that say the same
    are asked each: the second gets another id than the first. Raises BadInputError for one id with two meanings.
    """
    found: list[Prompt] = []
    seen: dict[str, tuple[str, str]] = {}
    times: Counter[str] = Counter()
    repeated = 0
    for row in rows:
        body = asking.body(row)
        if row.own_id:
            prompt = _prompt(row.own_id, row.path, body)
            earlier = seen.setdefault(row.own_id, (prompt.key, row.place))
            if earlier[1] != row.place:
                _refuse_two_meanings(row, prompt, earlier)
                repeated += 1
                continue
        else:
            content = _hash(row.path, body)
            times[content] += 1
            number = times[content]
            prompt = _prompt(content[:SHORT_KEY] + (f"-{number}" if number > 1 else ""), row.path, body)
        found.append(prompt)
    return Prompts(prompts=tuple(found), repeated=repeated)


def _refuse_two_meanings(row: Row, prompt: Prompt, earlier: tuple[str, str]) -> None:
    key, place = earlier
    if prompt.key != key:
        raise BadInputError(f"{row.place}: id {row.own_id!r} was used at {place} for another request: make ids unique")


def _prompt(custom_id: str, path: str, body: Mapping[str, Any]) -> Prompt:
    return Prompt(key=_hash(custom_id, path, body), custom_id=custom_id, path=path, body=body)


def _hash(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
