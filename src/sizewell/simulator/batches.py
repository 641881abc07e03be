"""The batches in flight: which chunks each holds, and the sums over them that price its step."""

from __future__ import annotations

from sizewell.costs.surface import StepBatch
from sizewell.simulator.state import NONE, Engine


def clear_batch(engine: Engine, ring: int) -> None:
    """Empty a place of the ring of batches."""
    batch = engine.batches[ring]
    batch.entries = batch.tokens = batch.emitting = batch.beginning = batch.prompts = 0
    batch.decode_sequences = batch.decode_context_tokens = 0.0
    batch.prefill_tokens = batch.prefill_sequences = 0.0
    batch.prefill_context_tokens = batch.prefill_pairs = batch.load_s = 0.0
    batch.roster = NONE


def add_chunk(engine: Engine, ring: int, request: int, tokens: int) -> None:
    """Put the next tokens of a sequence into a batch; they count as computed from now on."""
    sequence, batch = engine.sequences[request], engine.batches[ring]
    known = sequence.input_tokens + sequence.generated + sequence.placeholders
    after = sequence.computed + tokens
    # The last known token brings one new token, and so does every draft behind it that is accepted.
    emits = 1 + after - known if after >= known else 0
    entry = engine.entries[ring, batch.entries]
    entry.request, entry.tokens, entry.emits = request, tokens, emits
    batch.entries += 1
    batch.emitting += min(emits, 1)
    _count(engine, ring, request, tokens, 1.0)
    sequence.computed = after
    sequence.in_flight += tokens
    if engine.rules[0].async_scheduling:
        sequence.placeholders += emits


def remove_chunk(engine: Engine, ring: int, request: int) -> int:
    """Take a sequence's chunk out of the batch being formed; return its tokens, 0 if there is none."""
    batch, sequence = engine.batches[ring], engine.sequences[request]
    at = 0
    while at < batch.entries and engine.entries[ring, at].request != request:
        at += 1
    if at == batch.entries:
        return 0
    tokens, emits = engine.entries[ring, at].tokens, engine.entries[ring, at].emits
    for place in range(at + 1, batch.entries):
        moved = engine.entries[ring, place]
        kept = engine.entries[ring, place - 1]
        kept.request, kept.tokens, kept.emits = moved.request, moved.tokens, moved.emits
    batch.entries -= 1
    sequence.computed -= tokens
    sequence.in_flight -= tokens
    batch.emitting -= min(emits, 1)
    if engine.rules[0].async_scheduling:
        sequence.placeholders -= emits
    _count(engine, ring, request, tokens, -1.0)
    return int(tokens)


def step_batch(
    engine: Engine, ring: int, elsewhere_tokens: float, elsewhere_sequences: float, ahead: int
) -> StepBatch:  # fmt: skip
    """Return a batch as the cost model takes it, beside what other ranks compute in the same step, `ahead` steps on."""
    batch = engine.batches[ring]
    context = batch.decode_context_tokens + batch.decode_sequences * ahead
    return StepBatch(
        batch.decode_sequences, context, batch.prefill_tokens, batch.prefill_sequences,
        batch.prefill_context_tokens, batch.prefill_pairs, elsewhere_tokens, elsewhere_sequences,
    )  # fmt: skip


def _count(engine: Engine, ring: int, request: int, tokens: int, sign: float) -> None:
    sequence, batch = engine.sequences[request], engine.batches[ring]
    before = sequence.computed
    batch.tokens += int(sign) * tokens
    # A prompt that came computed but for its last token decodes from there on.
    ahead = sequence.input_tokens - before
    if ahead <= engine.rules[0].takes_over and tokens <= 1 + engine.rules[0].drafts:
        batch.beginning += int(sign) * max(ahead, 0)
        batch.decode_sequences += sign
        batch.decode_context_tokens += sign * before
    else:
        batch.prefill_sequences += sign
        batch.prefill_tokens += sign * tokens
        batch.prefill_context_tokens += sign * before
        batch.prefill_pairs += sign * tokens * (before + 0.5 * tokens)
