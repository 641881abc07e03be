"""The logs of a replica's pods, read again and again: a cluster keeps no place in them, but knows when lines came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sizewell.deployer.pods import LEADER, Pod, restarts
from sizewell.deployer.programs import run

MOST_LINES = 5000
_DIGITS = 9


class GroupLog:
    """The logs of the pods of one replica; where there are several, each line begins with the number of its node.

    `words` is how kubectl is called, `container` the engine's.
    """

    def __init__(self, words: Sequence[str], pods: Sequence[Pod], container: str) -> None:
        self._lives = _lives(pods)
        self._logs = [
            _PodLog(
                [*words, "logs", f"pod/{pod['metadata']['name']}", "--container", container, "--timestamps"],
                prefix=f"{pod['metadata'].get('labels', {}).get(LEADER, '0')}: " if len(pods) > 1 else "",
                again=restarts(pod) > 0,
            )
            for pod in pods
        ]

    def is_of(self, pods: Sequence[Pod]) -> bool:
        """Return whether these are still the pods it reads, none of them started over."""
        return _lives(pods) == self._lives

    def news(self) -> str:
        """Return the lines that came since it was last asked; at first the newest 5,000 of each pod."""
        return "".join(f"{line}\n" for log in self._logs for line in log.news())


class _PodLog:
    def __init__(self, words: Sequence[str], *, prefix: str, again: bool) -> None:
        self._words, self._prefix, self._again = words, prefix, again
        self._newest, self._at_newest = "", 0

    def news(self) -> Iterator[str]:
        """Yield what is new; what was said before the last restart comes first, once."""
        if self._again:
            self._again = False
            yield from (self._prefix + text for _, text in self._read("--previous", f"--tail={MOST_LINES}"))
        more = f"--since-time={self._newest}" if self._newest else f"--tail={MOST_LINES}"
        before, known = _moment(self._newest), self._at_newest
        for stamp, text in self._read(more):
            if (moment := _moment(stamp)) < before:
                continue
            if moment == before and known > 0:
                known -= 1  # lines of one moment come again together
                continue
            self._at_newest = self._at_newest + 1 if stamp == self._newest else 1
            self._newest = stamp
            yield self._prefix + text

    def _read(self, *more: str) -> Iterator[tuple[str, str]]:
        said = run([*self._words, *more])
        for line in said.out.splitlines() if said.code == 0 else ():
            stamp, _, text = line.partition(" ")
            yield stamp, text


def _lives(pods: Sequence[Pod]) -> list[tuple[str, int]]:
    return [(pod["metadata"]["name"], restarts(pod)) for pod in pods]


def _moment(stamp: str) -> tuple[str, str]:
    """Return a time that can be compared: its zeros at the end are left out as it is written."""
    second, _, rest = stamp.rstrip("Z").partition(".")
    return second, rest.ljust(_DIGITS, "0")
