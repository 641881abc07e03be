"""What goes wrong between us and a server, and whether asking again can help."""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

Kind = Literal["status", "timeout", "reset", "unreachable", "malformed", "truncated", "refused"]

AGAIN: tuple[Kind, ...] = ("timeout", "reset", "unreachable", "malformed", "truncated")
TOO_MANY = 429
AGAIN_STATUSES = (408, TOO_MANY)
GIVEN_UP = ("abort", "error")
"""Reasons to end with which an engine says that it gave the answer up: what came is a part of it."""


class ExchangeError(Exception):
    """One attempt that brought no answer. `status` is the server's, None where no response came."""

    def __init__(self, kind: Kind, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def again(self) -> bool:
        """Whether the same request may succeed later: a server's own trouble, never a request it refuses."""
        if self.status is not None and self.kind in ("status", "refused"):
            return self.status in AGAIN_STATUSES or self.status >= 500
        return self.kind in AGAIN

    @property
    def busy(self) -> bool:
        """Whether the server only wants the request to come later."""
        return self.status == TOO_MANY or self.retry_after_s is not None

    @property
    def code(self) -> str:
        """A word for counting: `http_429`, or the kind."""
        return f"http_{self.status}" if self.kind == "status" and self.status else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often and how late to ask again: a random time up to `first_s` × 2^attempt, at most `most_s`."""

    retries: int = 5
    first_s: float = 1.0
    most_s: float = 60.0

    def wait_s(self, attempt: int, error: ExchangeError, rng: random.Random) -> float:
        """Return how long to wait after attempt 0, 1, …; a server's Retry-After is the least, jitter comes on top."""
        drawn = rng.uniform(0.0, min(self.most_s, self.first_s * 2.0 ** min(attempt, 30)))
        if error.retry_after_s is None:
            return drawn
        return error.retry_after_s + min(drawn, self.first_s)


def retry_after_s(header: str | None, now_unix_s: float) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None where it says nothing usable."""
    if not header:
        return None
    text = header.strip()
    if text.replace(".", "", 1).isdigit() and text.isascii():
        return min(float(text), 3600.0)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now_unix_s), 3600.0)
    except (ValueError, OverflowError):  # a year beyond what dates can be
        return None
