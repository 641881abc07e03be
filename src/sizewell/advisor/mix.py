"""The mix of work a deployment does: how many sequences decode, how long they are, how much prompt comes beside."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.advisor.observation import Observation
from sizewell.traffic.workload import Workload

LITTLE_FOUND = 0.1
"""Share of prompts found in the cache up to which it matters to nobody where it lies."""
USUAL_TOKENS = 500.0
"""Prompt and output of a request where nobody says: only labels that hardly depend on it are given then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What is asked of a whole deployment.

    `in_flight` requests are there, waiting ones included; those that decode have `context_tokens` each. A request has
    `prompt_tokens`, of which `cached_fraction` is found in the prefix cache, and `output_tokens`; what is found is
    `in_common` where all share it, and lies in the cache once. Sequences that lose their cache are computed again:
    `lost_tokens` for each token generated.
    """

    in_flight: float
    prompt_tokens: float
    output_tokens: float
    cached_fraction: float = 0.0
    lost_tokens: float = 0.0
    in_common: bool = True

    @classmethod
    def of_workload(cls, workload: Workload, sequences: float, *, prefix_caching: bool) -> Mix:
        """Return the mix while `sequences` of a workload decode."""
        shared = min(workload.shared_prefix_tokens, workload.input_tokens - 1) if prefix_caching else 0.0
        return cls(
            in_flight=sequences,
            prompt_tokens=workload.input_tokens,
            output_tokens=workload.output_tokens,
            cached_fraction=shared / workload.input_tokens,
        )

    @classmethod
    def of_observation(cls, seen: Observation) -> Mix | None:
        """Return the mix a server worked on, by its gauges where one reading gives no rates; None where it did nothing
        or does not say how much.
        """
        decoding, rate = seen.decoding, seen.generated_tokens_per_s
        if not decoding or rate == 0:
            return None
        prompt, output = _lengths(seen)
        context = prompt + output / 2
        return cls(
            in_flight=max(decoding + (seen.waiting or 0.0), seen.known_in_flight),
            prompt_tokens=prompt,
            output_tokens=output,
            cached_fraction=min(seen.cached_fraction or 0.0, 1 - 1 / max(prompt, 1.0)),
            lost_tokens=(seen.preemptions_per_s or 0.0) * context / rate if rate else 0.0,
            in_common=_in_common(seen, context),
        )

    @property
    def context_tokens(self) -> float:
        """Mean context of a sequence while it decodes."""
        return self.prompt_tokens + self.output_tokens / 2

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens computed for each token generated."""
        fresh = self.prompt_tokens * (1 - self.cached_fraction) / max(self.output_tokens - 1, 1.0)
        return fresh + self.lost_tokens


def _in_common(seen: Observation, context: float) -> bool:
    """Return whether what is found in the cache is shared by all: then sequences take less of it than they are long."""
    found = seen.cached_fraction or 0.0
    if found < LITTLE_FOUND or not (seen.kv_used_fraction and seen.kv_tokens and seen.running):
        return True
    each = seen.kv_used_fraction * seen.kv_tokens / seen.running
    return each < context * (1 - found / 2)


def _lengths(seen: Observation) -> tuple[float, float]:
    """Return mean prompt and output: of requests that ended, else by the rates, prompts being as long as caches say."""
    if seen.request_prompt_tokens and seen.request_output_tokens:
        return seen.request_prompt_tokens, seen.request_output_tokens
    context = USUAL_TOKENS
    if seen.kv_used_fraction and seen.kv_tokens and seen.running:
        context = seen.kv_used_fraction * seen.kv_tokens / seen.running
    ratio = (seen.prompt_tokens_per_s or 0.0) / (seen.generated_tokens_per_s or 1.0)
    # prompt + output / 2 = context, prompt / output = ratio
    output = context / (ratio + 0.5)
    return max(ratio * output, 1.0), max(output, 1.0)
