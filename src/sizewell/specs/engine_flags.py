"""What the command line of one release of an engine, or of a router before its pools, understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizewell.specs.engine import EngineName
from sizewell.specs.errors import BadInputError, nearest_names

RouterName = Literal["vllm-router", "sglang-router"]
ProgramName = EngineName | RouterName
"""What has a command line whose flags were read."""
PREFIXES = {"vllm": "VLLM_", "sglang": "SGLANG_", "llama.cpp": "LLAMA_"}
"""How the environment variables of each engine begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFlags:
    """Flags and environment variables of a release: `values` take a value, `switches` none.

    `environment` is empty where the release keeps no list of its variables, `choices` are values as `--flag=value`, of
    flags whose values were read. `note` says when another release's flags
    stand in, because nobody read those of the version asked for.
    """

    engine: ProgramName
    release: str
    values: frozenset[str]
    switches: frozenset[str]
    environment: frozenset[str]
    choices: frozenset[str] = frozenset()
    note: str = ""

    def knows(self, flag: str) -> bool:
        """Return whether the release understands a flag."""
        return flag in self.values or flag in self.switches

    def takes(self, flag: str, value: str) -> bool:
        """Return whether a flag takes a value, as far as its values were read."""
        return not self._choices(flag) or f"{flag}={value}" in self.choices

    def check_value(self, flag: str, value: str) -> None:
        """Refuse a value the release does not take; raises BadInputError with those it does.

        Where another release's flags stand in nothing is refused: names stay, values are added with every release.
        """
        if self.note or self.takes(flag, value):
            return
        known = self._choices(flag)
        said = ", ".join(nearest_names(value, known) or sorted(known))
        raise BadInputError(f"{self.engine} {self.release} takes no {flag} {value}, but {said}: name another --engine")

    def _choices(self, flag: str) -> set[str]:
        return {choice.partition("=")[2] for choice in self.choices if choice.startswith(f"{flag}=")}

    def check(self, flag: str, *, takes_value: bool) -> None:
        """Refuse a flag the release does not understand that way; raises BadInputError with the nearest names."""
        known = self.values if takes_value else self.switches
        if flag in known:
            return
        near = ", ".join(nearest_names(flag, known))
        hint = f"; it knows {near}" if near else ""
        kind = "" if takes_value else " as a switch"
        raise BadInputError(f"{self.engine} {self.release} has no flag {flag}{kind}{hint}: name another --engine")

    def check_variable(self, name: str) -> None:
        """Refuse an engine's own environment variable that the release does not read; raises BadInputError."""
        prefix = PREFIXES.get(self.engine)
        if prefix and name.startswith(prefix) and name not in self.environment:
            raise BadInputError(f"{self.engine} {self.release} does not read {name}: name another --engine")
