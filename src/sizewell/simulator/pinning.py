"""Which blocks of a prompt are pinned: those of its beginning that other sessions' prompts begin with as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Ints, Requests

Chain = tuple[tuple[int, int], ...]
"""Contents one after the other, each with how many of its tokens stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """`blocks` [n] of each request are pinned once they are filled; `total` is what all of them can come to."""

    blocks: Ints
    total: int

    @classmethod
    def none(cls, count: int) -> Pins:
        """Return that nothing is pinned."""
        return cls(blocks=np.zeros(count, dtype=np.int64), total=0)

    @classmethod
    def of(cls, requests: Requests, block_tokens: int, usable_blocks: int) -> Pins:
        """Return the pins of offered requests. Raises BadInputError where they would leave no block to others."""
        shared = _shared_ids(requests)
        longest: dict[tuple[Chain, int], int] = {}
        blocks = np.zeros(len(requests), dtype=np.int64)
        for request in range(len(requests)):
            chain: Chain = ()
            tokens = 0
            for place in range(requests.segment_start[request], requests.segment_start[request + 1]):
                name, length = int(requests.segment_id[place]), int(requests.segment_tokens[place])
                if name not in shared:
                    break
                more = (tokens + length) // block_tokens - tokens // block_tokens
                longest[chain, name] = max(longest.get((chain, name), 0), more)
                chain, tokens = (*chain, (name, length)), tokens + length
            blocks[request] = tokens // block_tokens
        total = sum(longest.values())
        if total >= usable_blocks:
            raise BadInputError(f"prefixes of {total:,} blocks cannot be pinned in a cache of {usable_blocks:,}")
        return cls(blocks=blocks, total=total)


def _shared_ids(requests: Requests) -> set[int]:
    """Return the contents that prompts of more than one session name."""
    counts = np.diff(requests.segment_start)
    pairs = np.unique(np.stack([requests.segment_id, np.repeat(requests.session, counts)]), axis=1)
    names, sessions = np.unique(pairs[0], return_counts=True)
    return set(names[sessions > 1].tolist())
