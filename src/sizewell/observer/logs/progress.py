"""How far the weights are loaded, from the bars engines draw, and how long the rest takes."""

from __future__ import annotations

import re

_BAR = re.compile(
    r"""(?:Loading|Multi-thread\ loading)\ [^:%]*:\s*\d+%\s*(?:Completed\s*)?\|[^|\d]*\|?\s*
        (?P<done>\d+)/(?P<total>\d+)(?:\s\[(?P<elapsed>[\d:]+)<)?""",
    re.VERBOSE,
)


class LoadProgress:
    """The bar of the checkpoint's files: the last one drawn is the one that counts.

    The pace is that of the later half of what is loaded: the first files often come from memory, the rest from disk.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[int, float | None]] = []
        self._total = 0

    def read(self, message: str) -> bool:
        """Take a line in; return whether it was a bar."""
        found = _BAR.match(message)
        if found is None or not int(found["total"]):
            return False
        done, self._total = int(found["done"]), int(found["total"])
        if self._seen and done < self._seen[-1][0]:
            self._seen = []  # another bar: a draft model's
        self._seen.append((done, _seconds(found["elapsed"])))
        return True

    @property
    def fraction(self) -> float | None:
        """Files read over files there are; None before the first bar."""
        return min(1.0, self._seen[-1][0] / self._total) if self._seen else None

    @property
    def elapsed_s(self) -> float | None:
        """Seconds the bar has been growing; None where it does not say."""
        return self._seen[-1][1] if self._seen else None

    @property
    def remaining_s(self) -> float | None:
        """Seconds until all files are read at the pace of the later half; None while there is no pace."""
        done, now = self._seen[-1] if self._seen else (0, None)
        if done >= self._total and self._seen:
            return 0.0
        if now is None or not done:
            return None
        then, since = max(((n, s) for n, s in self._seen if n <= done / 2 and s is not None), default=(0, 0.0))
        pace = (now - since) / (done - then)
        return pace * (self._total - done) if pace > 0 else None


def _seconds(clock: str | None) -> float | None:
    """Return the seconds of 12, 01:12 or 1:01:12."""
    if clock is None:
        return None
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part or 0)
    return total
