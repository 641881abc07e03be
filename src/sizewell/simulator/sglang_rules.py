"""What differs between releases of SGLang's scheduler."""

from __future__ import annotations

from dataclasses import dataclass


def release_of(version: str) -> tuple[int, ...]:
    """Return up to three numbers of an engine's release; what is no number is left out."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


@dataclass(frozen=True, slots=True, kw_only=True)
class SglangRules:
    """What differs between releases of SGLang's scheduler, as far as it is simulated.

    `expects_fixed_whole`: of a sequence that ignores its end all remaining output is expected, not a share.
    `touches_waiting`: what waiting requests will find in the prefix cache counts as used now and then.
    """

    expects_fixed_whole: bool = True
    touches_waiting: bool = True

    @classmethod
    def of(cls, version: str) -> SglangRules:
        """Return the rules of a release, e.g. `0.5.10`."""
        release = release_of(version)
        return cls(expects_fixed_whole=release >= (0, 5, 22), touches_waiting=release >= (0, 5, 22))
