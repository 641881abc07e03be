"""How far a batch has come: counts, rate over the last minute, and the time that is left."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from sizewell.driver.replies import Usage

RATE_WINDOW_S = 60.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counts of one batch while it runs; times are those of any clock that only goes forward."""

    total: int
    begun_s: float
    resumed: int = 0
    answered: int = 0
    failed: int = 0
    retried: int = 0
    truncated: int = 0
    unclosed: int = 0
    with_reasoning: int = 0
    without_reasoning: int = 0
    lost_reasoning: int = 0
    in_flight: int = 0
    sent_usage: Usage = field(default_factory=Usage)
    codes: Counter[str] = field(default_factory=Counter)
    first_error: str = ""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def left(self) -> int:
        """Prompts that have neither an answer nor a final error yet."""
        return self.total - self.resumed - self.answered - self.failed

    def failed_for_good(self, why: str, now_s: float) -> None:
        """Note that a prompt came to its end without an answer."""
        self.failed += 1
        self.first_error = self.first_error or why
        self.ended(now_s)

    def ended(self, now_s: float, output_tokens: int = 0) -> None:
        """Note that a prompt came to its end."""
        self._recent.append((now_s, output_tokens))

    def rates(self, now_s: float) -> tuple[float, float]:
        """Return prompts and output tokens per second over the last minute, or since the start where that is less."""
        while self._recent and self._recent[0][0] < now_s - RATE_WINDOW_S:
            self._recent.popleft()
        span_s = max(1e-9, min(RATE_WINDOW_S, now_s - self.begun_s))
        return len(self._recent) / span_s, sum(tokens for _, tokens in self._recent) / span_s

    def line(self, now_s: float) -> str:
        """Return the state in one line."""
        prompts_per_s, tokens_per_s = self.rates(now_s)
        done = self.resumed + self.answered
        failed = f", {self.failed:,} failed" if self.failed else ""
        left = f", {_span(self.left / prompts_per_s)} left" if prompts_per_s > 0 and self.left else ""
        return (
            f"{done:,} of {self.total:,} answered{failed}, {self.in_flight:,} in flight, "
            f"{prompts_per_s:.3g} prompts/s, {tokens_per_s:,.0f} output tokens/s{left}"
        )


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
