"""The tokens of one step, for many steps at once: every field is an array over the batch axis B."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one replica computes in a step; arrays of shape [B], means where sequences differ.

    `decode_sequences` each read `context_tokens` of cache and compute `query_tokens` (1, or 1 + drafts to verify);
    `prefill_tokens` belong to `prefill_sequences` prompts that have `prefill_context_tokens` in the cache already.
    `prefill_pairs` counts the earlier tokens that prefill tokens attend to where chunks are unequal; without it all
    chunks are alike.
    """

    decode_sequences: Floats
    context_tokens: Floats
    prefill_tokens: Floats
    prefill_sequences: Floats
    prefill_context_tokens: Floats
    query_tokens: int = 1
    has_decode: bool = True
    has_prefill: bool = True
    prefill_pairs: Floats | None = None

    @classmethod
    def decode(cls, sequences: ArrayLike, context_tokens: ArrayLike, query_tokens: int = 1) -> Batch:
        """Return steps that only decode."""
        return cls.mixed(sequences, context_tokens, 0.0, query_tokens=query_tokens)

    @classmethod
    def prefill(
        cls,
        tokens: ArrayLike,
        context_tokens: ArrayLike = 0.0,
        sequences: ArrayLike = 1.0,
        pairs: ArrayLike | None = None,
    ) -> Batch:
        """Return steps that only prefill `tokens` of `sequences` prompts with `context_tokens` cached each."""
        return cls.mixed(0.0, 0.0, tokens, context_tokens, sequences, prefill_pairs=pairs)

    @classmethod
    def mixed(
        cls,
        sequences: ArrayLike,
        context_tokens: ArrayLike,
        prefill_tokens: ArrayLike,
        prefill_context_tokens: ArrayLike = 0.0,
        prefill_sequences: ArrayLike = 1.0,
        query_tokens: int = 1,
        prefill_pairs: ArrayLike | None = None,
    ) -> Batch:
        """Return steps that decode `sequences` and prefill `prefill_tokens` beside them."""
        given = (sequences, context_tokens, prefill_tokens, prefill_context_tokens, prefill_sequences)
        raw = np.broadcast_arrays(*np.atleast_1d(*given, 0.0 if prefill_pairs is None else prefill_pairs))
        decode, context, tokens, cached, prompts, pairs = (np.asarray(field, dtype=np.float64) for field in raw)
        return cls(
            decode_sequences=decode,
            context_tokens=context,
            prefill_tokens=tokens,
            prefill_sequences=np.where(tokens > 0, prompts, 0.0),
            prefill_context_tokens=cached,
            query_tokens=query_tokens,
            has_decode=bool(decode.any()),
            has_prefill=bool(tokens.any()),
            prefill_pairs=None if prefill_pairs is None else pairs,
        )

    def beside(self, *others: Batch) -> Batch:
        """Return these steps and, further along the batch axis, others of equal chunks with as many queries or none."""
        every = (self, *others)

        def joined(name: str) -> Floats:
            return np.concatenate([getattr(each, name) for each in every])

        return Batch(
            decode_sequences=joined("decode_sequences"),
            context_tokens=joined("context_tokens"),
            prefill_tokens=joined("prefill_tokens"),
            prefill_sequences=joined("prefill_sequences"),
            prefill_context_tokens=joined("prefill_context_tokens"),
            query_tokens=self.query_tokens,
            has_decode=any(each.has_decode for each in every),
            has_prefill=any(each.has_prefill for each in every),
        )

    @property
    def size(self) -> int:
        """How many steps there are."""
        return len(self.decode_sequences)

    @property
    def decodes(self) -> Floats | float:
        """1 in steps that decode, 0 in others."""
        return _where(self.decode_sequences > 0)

    @property
    def prefills(self) -> Floats | float:
        """1 in steps that prefill, 0 in others."""
        return _where(self.prefill_tokens > 0)

    @property
    def tokens(self) -> Floats:
        """Tokens that pass through the layers."""
        return self.decode_sequences * self.query_tokens + self.prefill_tokens

    @property
    def sampled(self) -> Floats:
        """Rows of logits: every decoded or verified token and the last one of each prompt."""
        return self.decode_sequences * self.query_tokens + self.prefill_sequences

    @property
    def prefill_visible_tokens(self) -> Floats:
        """Mean cached or earlier tokens one prefill token attends to."""
        if self.prefill_pairs is not None:
            return self.prefill_pairs / np.maximum(self.prefill_tokens, 1e-9)
        own = self.prefill_tokens / np.maximum(self.prefill_sequences, 1e-9)
        return self.prefill_context_tokens + own / 2

    def share(self, ranks: int) -> Batch:
        """Return what the fullest of `ranks` data-parallel ranks computes: an even share, at least one sequence."""
        if ranks == 1:
            return self
        prefill_tokens = np.maximum(
            self.prefill_tokens / ranks, self.prefill_tokens / np.maximum(self.prefill_sequences, 1)
        )
        return Batch(
            decode_sequences=_share(self.decode_sequences, ranks),
            context_tokens=self.context_tokens,
            prefill_tokens=prefill_tokens,
            prefill_sequences=_share(self.prefill_sequences, ranks),
            prefill_context_tokens=self.prefill_context_tokens,
            query_tokens=self.query_tokens,
            has_decode=self.has_decode,
            has_prefill=self.has_prefill,
            prefill_pairs=None if self.prefill_pairs is None else self.prefill_visible_tokens * prefill_tokens,
        )


def _where(there: NDArray[np.bool_]) -> Floats | float:
    return 1.0 if there.all() else there.astype(np.float64)


def _share(sequences: Floats, ranks: int) -> Floats:
    return np.maximum(sequences / ranks, np.minimum(sequences, 1.0))
