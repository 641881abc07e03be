"""Strict, typed access to the fields of a JSON configuration: a wrong value names its file, its field and itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sizewell.specs.errors import BadInputError

LARGEST_COUNT = 10**9
LARGEST_NUMBER = 10**12
LARGEST_LAYER_COUNT = 2000


class MissingFieldError(BadInputError):
    """A field the architecture cannot do without."""

    def __init__(self, source: str, field: str) -> None:
        super().__init__(f"{source}: {field} is missing; give it with --assume {field}=VALUE")
        self.field = field


class _Watched(dict[str, Any]):
    """An object that writes down which of its fields are looked up."""

    def __init__(self, values: Mapping[str, Any], read: set[str]) -> None:
        super().__init__({name: watched(value, read) for name, value in values.items()})
        self.read = read

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def items(self) -> Any:
        self.read.update(self)
        return super().items()


def watched(value: Any, read: set[str]) -> Any:
    """Return a JSON value whose objects add the name of each field that is looked up to `read`."""
    if isinstance(value, dict):
        return _Watched(value, read)
    return [watched(item, read) for item in value] if isinstance(value, list) else value


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return objects put together, later ones winning; look-ups stay watched where one of them is."""
    whole = {name: value for part in parts for name, value in dict(part).items()}
    read = [part.read for part in parts if isinstance(part, _Watched)]
    return _Watched(whole, read[0]) if read else whole


class Fields:
    """One JSON object of a file; null counts as absent.

    `path` is the dotted place inside the file and only used in messages. `parent` is the enclosing object.
    """

    __slots__ = ("parent", "path", "source", "values")

    def __init__(self, values: Mapping[str, Any], source: str, path: str = "", parent: Fields | None = None) -> None:
        self.values = values
        self.source = source
        self.path = path
        self.parent = parent

    def __contains__(self, name: str) -> bool:
        """Return whether the field is there and not null."""
        return self.values.get(name) is not None

    def section(self, name: str) -> Fields | None:
        """Return the object under `name`, None when absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return Fields(value, self.source, f"{self.path}{name}.", self)

    def count(self, name: str, default: int | None = None) -> int:
        """Return a whole number from 0 to 10^9; absent without default is a MissingFieldError."""
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise MissingFieldError(self.source, self.path + name)
            return default
        return self._whole(name, value)

    def size(self, name: str, default: int | None = None) -> int:
        """Return a whole number of at least one."""
        value = self.count(name, default)
        if value < 1:
            raise self.wrong(name, value, "at least 1")
        return value

    def layers(self, name: str = "num_hidden_layers", default: int | None = None) -> int:
        """Return a layer count, refused above 2000."""
        value = self.size(name, default)
        if value > LARGEST_LAYER_COUNT:
            raise self.wrong(name, value, f"at most {LARGEST_LAYER_COUNT} layers")
        return value

    def stated_count(self, name: str) -> int:
        """Return a whole number, 0 for a stated null; a field that is not there at all has the class's own default,
        which we do not know: MissingFieldError."""
        if name not in self.values:
            raise MissingFieldError(self.source, self.path + name)
        return self.count(name, 0)

    def optional_count(self, name: str) -> int | None:
        """Return a whole number, None when absent."""
        return self.count(name) if name in self else None

    def number(self, name: str, default: float) -> float:
        """Return a number between -10^12 and 10^12."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
            raise self.wrong(name, value, "a number of ordinary size")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def text(self, name: str, default: str = "") -> str:
        """Return a string."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, value, "a string")
        return value

    def items(self, name: str) -> list[Any] | None:
        """Return the list under `name`, None when absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, value, "a list")
        return value

    def words(self, name: str, length: int | None = None) -> tuple[str, ...] | None:
        """Return a list of strings (of exactly `length` if given), None when absent."""
        listed = self.items(name)
        if listed is None:
            return None
        if not all(isinstance(word, str) for word in listed):
            raise self.wrong(name, listed, "a list of strings")
        return tuple(self._sized(name, listed, length))

    def kinds(self, name: str, known: Collection[str], length: int | None = None) -> tuple[str, ...] | None:
        """Return a list of words of which every one must be known, None when absent."""
        listed = self.words(name, length)
        for word in listed or ():
            if word not in known:
                raise self.wrong(name, word, f"only {', '.join(sorted(known))}")
        return listed

    def counts(self, name: str, length: int | None = None) -> tuple[int, ...] | None:
        """Return a list of whole numbers (true and false count as 1 and 0), None when absent."""
        listed = self.items(name)
        if listed is None:
            return None
        return tuple(self._whole(name, int(v) if isinstance(v, bool) else v) for v in self._sized(name, listed, length))

    def wrong(self, name: str, value: object, wanted: str) -> BadInputError:
        """Return the error for a value that cannot be meant."""
        shown = repr(value)
        if len(shown) > 60:
            shown = shown[:57] + "..."
        place = " ".join(f"{self.path}{name}".split())
        return BadInputError(f"{self.source}: {place} is {shown}, expected {wanted}")

    def _sized(self, name: str, listed: list[Any], length: int | None) -> list[Any]:
        if length is not None and len(listed) < length:
            raise self.wrong(name, listed, f"a list of {length}")
        return listed if length is None else listed[:length]

    def _whole(self, name: str, value: object) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_COUNT:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, value, "a whole number")
        if not 0 <= value <= LARGEST_COUNT:
            raise self.wrong(name, value if value < 0 else float(min(value, 10**300)), f"0 to {LARGEST_COUNT:.0e}")
        return value
