"""Sourced facts of one TOML file, read field by field with errors that name the file and the field.

A number is written `{ value = 3.35e12, from = "datasheet" }` and `[sources.datasheet]` says where it was read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from sizewell.catalog.bands import FIELDS, band, is_date, is_field, row_fields
from sizewell.specs.errors import BadInputError, nearest_names

_FIRST_TABLE = re.compile(r"^\[", re.MULTILINE)


class Facts:
    """One table of a data file; `field` paths are dotted, e.g. `memory.bytes`."""

    def __init__(self, path: Path, table: Mapping[str, Any], sources: Mapping[str, Any], prefix: str = "") -> None:
        self.path = path
        self._table = table
        self._sources = sources
        self._prefix = prefix

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the facts of a file; raises BadInputError when it cannot be read or its key is not its name."""
        return cls._named(path, _parse(path, _text(path)))

    @classmethod
    def head(cls, path: Path) -> Self:
        """Return only the fields before the first table (names and aliases): an eighth of the cost of the file."""
        text = _text(path)
        first = _FIRST_TABLE.search(text)
        try:
            return cls._named(path, tomllib.loads(text[: first.start()] if first else text))
        except tomllib.TOMLDecodeError:
            return cls.read(path)

    @classmethod
    def _named(cls, path: Path, table: Mapping[str, Any]) -> Self:
        facts = cls(path, table, table.get("sources", {}))
        if facts.text("key") != path.stem:
            raise facts.error("key", f"must be the file's own name {path.stem!r}, found {table['key']!r}")
        return facts

    def error(self, field: str, says: str) -> BadInputError:
        """Return the error to raise about a field: one line with the file, the field and what to do."""
        return BadInputError(f"{self.path}: {self._prefix}{field} {says}")

    def has(self, field: str) -> bool:
        """Return whether the field is given."""
        return self._find(field) is not None

    def number(self, field: str, *, least: float = 0.0) -> float:
        """Return a sourced number of at least `least`; raises BadInputError when absent, unsourced or out of range."""
        fact = self._find(field)
        if not isinstance(fact, dict) or not _is_number(fact.get("value")):
            found = "nothing" if fact is None else repr(fact)
            raise self.error(field, f'must be {{ value = <number>, from = "<source>" }}, found {found}')
        self.check_source(field, fact.get("from"))
        if not least <= fact["value"] < float("inf"):
            raise self.error(field, f"must be a finite number of at least {least:g}, found {fact['value']!r}")
        return self._banded(field, float(fact["value"]))

    def optional_number(self, field: str) -> float | None:
        """Return a sourced number, or None when the field is not given."""
        return self.number(field) if self.has(field) else None

    def plain_number(self, field: str) -> float:
        """Return a bare number, for rows whose source is named once beside them."""
        value = self._find(field)
        if not _is_number(value) or not 0 <= value < float("inf"):
            raise self.error(field, f"must be a number of zero or more, found {value!r}")
        return self._banded(field, float(value))

    def _banded(self, field: str, value: float) -> float:
        low, high = band(self.path.parent.name, field)
        if not low <= value <= high:
            raise self.error(field, f"lies from {low:g} to {high:g} in base units, found {value:g}")
        return value

    def day(self, field: str) -> str:
        """Return a date: a day, a month or a year."""
        said = self.text(field)
        if not is_date(said):
            raise self.error(field, f"must be a date such as 2026-11-09 or 2026-11, found {said!r}")
        return said

    def only_known(self) -> None:
        """Raise BadInputError for the first field that this kind of file does not have, with the nearest names."""
        kind = self.path.parent.name
        for field in _dotted(self._table):
            if not is_field(kind, field):
                near = nearest_names(field, FIELDS[kind])
                raise self.error(
                    field, f"is no field of {kind}{'; did you mean ' + ', '.join(near) + '?' if near else ''}"
                )

    def text(self, field: str, default: str | None = None) -> str:
        """Return a string; raises BadInputError when it is absent and has no default. A sourced string may be given."""
        value = self._find(field)
        if isinstance(value, dict) and "value" in value:
            self.check_source(field, value.get("from"))
            value = value["value"]
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.error(field, f"must be a text in quotes, found {value!r}")
        return value

    def choice(self, field: str, allowed: tuple[str, ...]) -> str:
        """Return a string that is one of `allowed`."""
        value = self.text(field)
        if value not in allowed:
            raise self.error(field, f"must be one of {', '.join(allowed)}, found {value!r}")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """Return a list of strings, empty when not given."""
        value = self._find(field)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(field, f"must be a list of texts, found {value!r}")
        return tuple(value)

    def counts(self, field: str) -> tuple[int, ...]:
        """Return a list of whole numbers of at least one, ascending."""
        value = self._find(field)
        if not isinstance(value, list) or not value or not all(type(item) is int and item > 0 for item in value):
            raise self.error(field, f"must be a list of whole numbers, found {value!r}")
        return tuple(int(self._banded(field, item)) for item in sorted(value))

    def flag(self, field: str) -> bool:
        """Return a true/false, false when not given."""
        value = self._find(field)
        if value is not None and not isinstance(value, bool):
            raise self.error(field, f"must be true or false, found {value!r}")
        return bool(value)

    def keys(self, field: str) -> tuple[str, ...]:
        """Return the names inside a sub-table, empty when not given."""
        value = self._find(field)
        return tuple(value) if isinstance(value, dict) else ()

    def rows(self, field: str) -> Iterator[Facts]:
        """Yield each table of an array of tables, empty when not given."""
        value = self._find(field)
        if not isinstance(value, list | None) or not all(isinstance(row, dict) for row in value or ()):
            raise self.error(field, f"must be [[{field}]] tables")
        for number, row in enumerate(value or (), start=1):
            facts = Facts(self.path, row, self._sources, f"{field} {number}: ")
            facts._only(row, row_fields(self.path.parent.name, field), f"a row of {field}")
            yield facts

    def _only(self, found: Iterable[str], known: Sequence[str], place: str) -> None:
        """Raise BadInputError for the first field that is not known; no list takes any."""
        for name in found:
            if known and name not in known:
                near = nearest_names(name, known)
                raise self.error(
                    name, f"is no field of {place}{'; did you mean ' + ', '.join(near) + '?' if near else ''}"
                )

    def source(self, name: str) -> str:
        """Return a source as text: its title and, where it has one, its address."""
        entry = self._sources[name]
        return f"{entry['title']} ({entry['url']})" if entry.get("url") else str(entry["title"])

    def source_date(self, name: str) -> str:
        """Return when a source was published or read."""
        return str(self._sources[name]["date"])

    def check_source(self, field: str, name: object) -> str:
        """Return the name of a source of this file; raises BadInputError when `[sources]` lacks it."""
        entry = self._sources.get(name) if isinstance(name, str) else None
        if not isinstance(entry, dict) or not entry.get("title") or not entry.get("date"):
            raise self.error(field, f"needs a source with title and date under [sources], found from = {name!r}")
        if not is_date(entry["date"]):
            says = f"must be a date such as 2026-11-09 or 2026-11, found {entry['date']!r}"
            raise BadInputError(f"{self.path}: sources.{name}.date {says}")
        return str(name)

    def _find(self, field: str) -> Any:
        node: Any = self._table
        for part in field.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all fields but the sources; a sourced value and a list of tables are one field."""
    for name, value in table.items():
        if isinstance(value, dict) and "value" not in value:
            yield from () if name == "sources" and not prefix else _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error


@lru_cache(maxsize=64)
def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{path}: is not valid TOML: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
