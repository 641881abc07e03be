"""Nested sections of a file people write: each value checked, each mistake named with file, line and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from sizewell.cli.quantities import Measure
from sizewell.specs.errors import BadInputError, nearest_names

T = TypeVar("T")


class Table:
    """One section of a file; `where` turns the dotted name of a key into `file:line: key`."""

    def __init__(self, where: Callable[[str], str], name: str, values: Any) -> None:
        self._where = where
        self._name = name
        if not isinstance(values, Mapping):
            raise BadInputError(f"{where(name)}: {str(values)[:40]!r} is not a section: give it keys of its own")
        self._values = {str(key).lower().replace("-", "_"): value for key, value in values.items()}
        self._spelled = {str(key).lower().replace("-", "_"): str(key) for key in values}
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._values

    def place(self, key: str = "") -> str:
        """Return file, line and name of a key, or of the section itself."""
        return self._where(f"{self._name}.{self._spelled.get(key, key)}" if key else self._name)

    def number(self, key: str, measure: Measure, default: float | None = None) -> float:
        """Return a quantity in base units; without a default the key is needed."""
        found = self._found(key)
        if found is None:
            if default is None:
                raise BadInputError(
                    f"{self.place()}: lacks {key}: write e.g. {key}: {measure.example.split(' or ')[0]}"
                )
            return default
        try:
            return measure.parse(found)
        except BadInputError as error:
            raise BadInputError(f"{self.place(key)}: {error}") from None

    def count(self, key: str, measure: Measure, default: int | None = None) -> int:
        """Return a whole quantity."""
        return int(self.number(key, measure, default))

    def numbers(self, key: str, measure: Measure) -> tuple[float, ...]:
        """Return a list of quantities."""
        found = self._found(key)
        if not isinstance(found, list):
            raise BadInputError(f"{self.place(key)}: {found!r} is no list: write e.g. [{measure.example}]")
        try:
            return tuple(measure.parse(one) for one in found)
        except BadInputError as error:
            raise BadInputError(f"{self.place(key)}: {error}") from None

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Return one word of several; without a default the key is needed."""
        found = self._found(key)
        said = default if found is None else str(found)
        if said not in allowed:
            near = nearest_names(str(said), allowed) or allowed
            raise BadInputError(f"{self.place(key)}: {said!r} is none of {', '.join(allowed)}; did you mean {near[0]}?")
        return said

    def flag(self, key: str) -> bool:
        """Return a switch, off where it is not given."""
        found = self._found(key)
        said = "false" if found is None else str(found).lower()
        if said not in ("true", "false"):
            raise BadInputError(f"{self.place(key)}: {found!r} is not true or false")
        return said == "true"

    def text(self, key: str) -> str:
        """Return a text."""
        found = self._found(key)
        if not isinstance(found, str) or not found:
            raise BadInputError(f"{self.place(key)}: {found!r} is no text")
        return found

    def raw(self, key: str) -> Any:
        """Return a value as it stands in the file, None where it is not given."""
        return self._found(key)

    def table(self, key: str) -> Table:
        """Return a section inside this one, empty where it is not given."""
        return Table(self._where, f"{self._name}.{key}", self._found(key) or {})

    def tables(self, key: str) -> list[Table]:
        """Return the sections of a list."""
        found = self._found(key)
        if found is not None and not isinstance(found, list):
            raise BadInputError(f"{self.place(key)}: {str(found)[:40]!r} is no list of sections")
        return [Table(self._where, f"{self._name}.{key}.{number}", one) for number, one in enumerate(found or ())]

    @contextmanager
    def naming(self, key: str = "") -> Iterator[None]:
        """Name this place in what the core refuses."""
        try:
            yield
        except BadInputError as error:
            if str(error).startswith(self.place().partition(":")[0]):
                raise
            raise BadInputError(f"{self.place(key)}: {error}") from None

    def only(self, made: T) -> T:
        """Return what was made of the section; raise BadInputError for a key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                near = nearest_names(key, self._asked)
                guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self._asked))}"
                raise BadInputError(f"{self.place(key)}: unknown key; {guess}")
        return made

    def _found(self, key: str) -> Any:
        self._asked.add(key)
        return self._values.get(key)
