"""When each token of each request came: raw times only; `traffic.score` computes from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np

from sizewell.driver.failures import GIVEN_UP, ExchangeError
from sizewell.driver.reasoning import TagStream, content_of, field_of
from sizewell.driver.replies import Usage
from sizewell.traffic.run import FAILED, OK, REJECTED, UNFINISHED, GapCounts, Run

REFUSALS = (400, 401, 403, 404, 408, 413, 422, 429, 503)
"""Statuses by which a server declines a request; others are its own failure."""


@dataclass(slots=True, kw_only=True)
class Recording:
    """One request while it happens; times in seconds from the start of the run.

    `token_s`: when each piece that carries generated tokens came. `asked_tokens`: the output that was asked for.
    `server`: the number of the one it was sent to, −1 where nobody says. `ended`: the server said that was all.
    """

    row: int
    scheduled_s: float
    asked_tokens: int
    sent_s: float = nan
    server: int = -1
    token_s: list[float] = field(default_factory=list)
    first_answer_s: float = nan
    think_pieces: int = 0
    usage: Usage = field(default_factory=Usage)
    cached_tokens: int = 0
    status: int = UNFINISHED
    error: str = ""
    ended: bool = False
    _silent_end_s: float = nan
    _tags: TagStream = field(default_factory=TagStream)

    def take(self, chunk: Mapping[str, Any], now_s: float) -> None:
        """Note one chunk of the stream."""
        if isinstance(chunk.get("usage"), dict):
            self.usage = Usage.of(chunk)
            details = chunk["usage"].get("prompt_tokens_details")
            cached = details.get("cached_tokens") if isinstance(details, dict) else 0
            self.cached_tokens = cached if isinstance(cached, int) else 0
        for choice in chunk.get("choices") or ():
            if not isinstance(choice, dict):
                raise ExchangeError("malformed", f"a chunk of the stream holds {str(choice)[:40]!r} for a choice")
            before, finishes = len(self.token_s), bool(choice.get("finish_reason"))
            if choice.get("finish_reason") in GIVEN_UP:
                raise ExchangeError("truncated", f"the server gave the answer up: {choice['finish_reason']}")
            if isinstance(choice.get("delta"), dict):
                self._take_delta(choice["delta"], finishes, now_s)
            elif choice.get("text") or ("text" in choice and not finishes):
                self._token(now_s, answers=True)
            if finishes:
                self.ended = True
                if len(self.token_s) == before:
                    self._silent_end_s = now_s

    def end(self) -> None:
        """Note that the stream ended well; one without a token, or that breaks off before its answer did, has failed.

        A last chunk without text carried a token where the server counted more of them than came: the end mark, or a
        part of a character.
        """
        if isfinite(self._silent_end_s) and self.usage.output_tokens > len(self.token_s):
            self._token(self._silent_end_s, answers=not self.think_pieces)
        broken = "" if self.ended else "the stream ended before the answer did"
        self.error = broken if self.token_s else "the stream carried no token"
        self.status = FAILED if self.error else OK

    def fail(self, error: ExchangeError) -> None:
        """Note why there is no whole answer: refused before any token, or broken off."""
        refused = error.status in REFUSALS and not self.token_s
        self.status, self.error = (REJECTED if refused else FAILED), f"{error.code}: {error}"

    @property
    def output_tokens(self) -> int:
        """Tokens generated: as the server counted them, else the pieces that came."""
        return max(self.usage.output_tokens, 1) if self.usage.output_tokens and self.token_s else len(self.token_s)

    @property
    def think_tokens(self) -> int:
        """Of them thought: as the server counted them, else in proportion to the pieces."""
        if self.usage.think_tokens:
            return min(self.usage.think_tokens, self.output_tokens)
        share = self.think_pieces / len(self.token_s) if self.token_s else 0.0
        return round(share * self.output_tokens)

    def gaps_s(self) -> list[float]:
        """Return the times between successive tokens; tokens that came in one piece came at one moment."""
        gaps = np.diff(self.token_s).tolist()
        return gaps + [0.0] * (self.output_tokens - 1 - len(gaps))

    def _take_delta(self, delta: Mapping[str, Any], finishes: bool, now_s: float) -> None:
        if field_of(delta):
            self.think_pieces += 1
            self._token(now_s, answers=False)
            return
        content = delta.get("content")
        if isinstance(content, list):
            thought, content = content_of(content)
            if thought:
                self.think_pieces += 1
                self._token(now_s, answers=False)
                return
        if delta.get("tool_calls") or delta.get("refusal") or delta.get("function_call"):
            self._token(now_s, answers=True)
        elif content:
            self._take_text(content, now_s)
        elif content is not None and "role" not in delta and not finishes:
            self._token(now_s, answers=False)  # a token that is no whole character yet

    def _take_text(self, text: str, now_s: float) -> None:
        unopened = self._tags.unopened
        parts = self._tags.feed(text)
        if self._tags.unopened and not unopened:
            self.first_answer_s = nan
            self.think_pieces = len(self.token_s)
        answers = bool(parts.answer.strip()) or (bool(parts.answer) and not self._tags.thought)
        self.think_pieces += bool(parts.reasoning)
        self._token(now_s, answers=answers)

    def _token(self, now_s: float, *, answers: bool) -> None:
        self.token_s.append(now_s)
        if answers and self.first_answer_s != self.first_answer_s:
            self.first_answer_s = now_s


def as_run(recordings: Sequence[Recording], *, gaps_known: bool = True) -> Run:
    """Return what was recorded as a measured run, in the order the requests were offered.

    `gaps_known` is False where only first and last token of each request have a time.
    """
    rows = sorted(recordings, key=lambda one: one.row)
    served = [one for one in rows if one.status == OK and gaps_known]
    gaps = [gap for one in served for gap in one.gaps_s()]

    def column(values: Sequence[float]) -> Any:
        return np.array(values, dtype=np.float64)

    def counts(values: Sequence[int]) -> Any:
        return np.array(values, dtype=np.int64)

    return Run(
        scheduled_s=column([one.scheduled_s for one in rows]),
        sent_s=column([one.sent_s for one in rows]),
        first_token_s=column([one.token_s[0] if one.token_s else nan for one in rows]),
        first_answer_s=column([one.first_answer_s for one in rows]),
        last_token_s=column([one.token_s[-1] if one.token_s else nan for one in rows]),
        input_tokens=counts([one.usage.input_tokens for one in rows]),
        think_tokens=counts([one.think_tokens for one in rows]),
        output_tokens=counts([one.output_tokens for one in rows]),
        cached_tokens=counts([one.cached_tokens for one in rows]),
        preemptions=counts([0] * len(rows)),
        replica=counts([one.server for one in rows]),
        status=np.array([one.status for one in rows], dtype=np.int8),
        gaps=GapCounts.of(column(gaps)),
        origin="measured",
    )
