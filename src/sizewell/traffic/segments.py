"""The identity of prompts: which contents each begins with, so that caches can recognise them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sizewell.traffic.requests import NONE, Ints
from sizewell.traffic.sessions import Rows

_SPOKEN = 3
"""Contents a turn adds to a conversation: its text, its thinking (if kept), its answer."""


class Contents(NamedTuple):
    """What prompts are made of: `id`, `tokens` [sessions, layers] of shared beginnings, then what each row adds [n].

    `kept_think`: think tokens that stay in the history, 0 where a chat template drops them.
    """

    prefix_id: Ints
    prefix_tokens: Ints
    text: Ints
    kept_think: Ints
    answer: Ints


class Prompts(NamedTuple):
    """Prompts of n rows in the form `Requests` holds them."""

    input_tokens: Ints
    segment_start: Ints
    segment_id: Ints
    segment_tokens: Ints
    think_id: Ints
    output_id: Ints


def prompts(rows: Rows, contents: Contents) -> Prompts:
    """Return each row's prompt: the shared beginnings, what was said before, and its own new text.

    Every conversation is one stream of contents; a turn's prompt is the beginning of it up to and with its text.
    The text of a session's last turn is quoted by nobody and gets no name.
    """
    stream_id, stream_tokens, names = _streams(rows, contents)
    layers = contents.prefix_id.shape[1]
    last = rows.is_last
    parts = layers + _SPOKEN * rows.turn + ~last
    base = rows.session * layers + _SPOKEN * rows.first_row[rows.session]
    ends = np.cumsum(parts)
    index = np.arange(ends[-1]) + np.repeat(base - (ends - parts), parts)
    tokens = stream_tokens[index]
    there = tokens > 0
    total = np.concatenate(([0], np.cumsum(tokens)))
    named = np.concatenate(([0], np.cumsum(there)))
    edges = np.concatenate(([0], ends))
    unnamed = np.where(last, contents.text, 0)
    quoted = ~last & (contents.answer > 0)
    return Prompts(
        input_tokens=np.diff(total[edges]) + unnamed,
        segment_start=named[edges],
        segment_id=stream_id[index[there]],
        segment_tokens=tokens[there],
        think_id=np.where(~last & (contents.kept_think > 0), names + 1, NONE),
        output_id=np.where(quoted, names + 2, NONE),
    )


def _streams(rows: Rows, contents: Contents) -> tuple[Ints, Ints, Ints]:
    """Return ids and tokens of all conversations one after another, and the first of each row's three names [n]."""
    sessions, layers = contents.prefix_id.shape
    count = len(rows.session)
    stream_id = np.empty(sessions * layers + _SPOKEN * count, dtype=np.int64)
    stream_tokens = np.empty_like(stream_id)
    begins = np.arange(sessions) * layers + _SPOKEN * rows.first_row
    for layer in range(layers):
        stream_id[begins + layer] = contents.prefix_id[:, layer]
        stream_tokens[begins + layer] = contents.prefix_tokens[:, layer]
    unused = int(contents.prefix_id.max(initial=-1)) + 1
    names = unused + _SPOKEN * np.arange(count)
    spoken = (rows.session + 1) * layers + _SPOKEN * np.arange(count)
    for offset, tokens in enumerate((contents.text, contents.kept_think, contents.answer)):
        stream_id[spoken + offset] = names + offset
        stream_tokens[spoken + offset] = tokens
    return stream_id, stream_tokens, names
