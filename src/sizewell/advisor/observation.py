"""What was seen of a server over a window: whoever saw it, and None for what nobody said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """What the sender knows of itself: requests it wanted in flight or per second, those it sent, and how late.

    `cpu_fraction` is of one core.
    """

    asked_in_flight: float | None = None
    asked_per_s: float | None = None
    achieved_per_s: float | None = None
    delay_s: float | None = None
    cpu_fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A server over `window_s` seconds: rates per second, means of gauges over time and of times over requests.

    Counts are of all `engines` together, `kv_used_fraction` is their mean; `idle_engines` never had a request.
    `running_peak` is the most that ran at one reading, `kv_peak_fraction` the use that a quarter of the readings reach,
    both of those at which requests waited where some did. `kv_tokens` is what all caches hold. `cached_fraction` is
    of the prompt tokens looked for. `settings` are what the engine says of its cache. `missing` names what the server
    does not tell; `restarts` counts counters set back.
    """

    window_s: float | None = None
    engines: int = 1
    idle_engines: int = 0
    running: float | None = None
    running_peak: float | None = None
    waiting: float | None = None
    kv_used_fraction: float | None = None
    kv_peak_fraction: float | None = None
    kv_tokens: float | None = None
    preemptions_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    generated_tokens_per_s: float | None = None
    cached_fraction: float | None = None
    finished_per_s: float | None = None
    ttft_s: float | None = None
    itl_s: float | None = None
    e2e_s: float | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    request_prompt_tokens: float | None = None
    request_output_tokens: float | None = None
    steps_per_s: float | None = None
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    client: ClientFacts | None = None
    missing: tuple[str, ...] = ()
    restarts: int = 0

    @property
    def decoding(self) -> float | None:
        """Sequences that decode at any time: tokens per second × seconds between tokens (Little), else the gauge's.

        A sequence that lost its cache waits between two of its tokens, too: then no more decode than run.
        """
        if self.generated_tokens_per_s is None or not self.itl_s:
            return self.running
        counted = self.generated_tokens_per_s * self.itl_s
        return min(counted, self.running) if self.preemptions_per_s and self.running else counted

    @property
    def token_s(self) -> float | None:
        """Seconds between two tokens of a sequence while it decodes."""
        if self.itl_s and self.preemptions_per_s and self.decoding and self.generated_tokens_per_s:
            return self.decoding / self.generated_tokens_per_s
        return self.itl_s

    @property
    def at_work(self) -> float:
        """Sequences in the server at any time: rates × times (Little), and the gauge's where no request ended.

        A gauge read in step with requests shows each of them, however short.
        """
        return max(self.decoding or 0.0, self._by_times or self.running or 0.0)

    @property
    def in_flight(self) -> float | None:
        """Requests in the server, waiting ones included: as gauges say, or rate × time (Little) where that is more.

        Gauges of short requests are often read between two of them.
        """
        if self.running is None or self.waiting is None:
            return None
        return max(self.running + self.waiting, self._by_times)

    @property
    def known_in_flight(self) -> float:
        """Requests in the server by both: a gauge is read by accident, and a time is of requests that came before."""
        return min(self._by_times, (self.running or 0.0) + (self.waiting or 0.0))

    @property
    def _by_times(self) -> float:
        """Requests that ended a second × seconds each took (Little), 0 where none ended."""
        return (self.finished_per_s or 0.0) * (self.e2e_s or 0.0)

    @property
    def queues(self) -> bool:
        """Whether requests wait as a rule: one at least, and one for ten that run.

        Who comes waits for the step under way, and a few that end together are followed by as many.
        """
        return (self.waiting or 0.0) >= max(1.0, (self.running or 0.0) / 10)

    @property
    def backlog(self) -> bool:
        """Whether half as many wait as run: more than meet by accident."""
        return self.queues and (self.waiting or 0.0) >= (self.running or 0.0) / 2

    @property
    def preemptions_per_request(self) -> float | None:
        """Times a request lost its cache; None where none ended."""
        if self.preemptions_per_s is None or not self.finished_per_s:
            return None
        return self.preemptions_per_s / self.finished_per_s
