"""The few types compiled functions know, and how tuples of arrays lie in memory.

Numbers are 64 bits wide. A record is a pointer into an array of records. An array is a pointer and its lengths, in C
order without gaps. A tuple is a row of 64-bit words: numbers as they are, arrays as pointer and lengths, inner tuples
in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Number:
    """An integer, a float or a truth value."""

    name: str


INT, FLOAT, BOOL = Number("int"), Number("float"), Number("bool")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an array of records."""

    kind: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Array:
    """An array of numbers or records."""

    item: np.dtype[Any]
    dimensions: int


@dataclass(frozen=True, slots=True)
class Row:
    """A tuple, named or not, and what its places hold."""

    made_by: type
    items: tuple[Shape, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the places, none where the tuple has none."""
        return getattr(self.made_by, "_fields", ())

    def offset(self, place: int) -> int:
        """Return the word at which a place begins."""
        return sum(words(item) for item in self.items[:place])


Shape = Number | Record | Array | Row


def words(shape: Shape) -> int:
    """Return the 64-bit words a value takes inside a tuple."""
    if isinstance(shape, Row):
        return sum(words(item) for item in shape.items)
    return 1 + shape.dimensions if isinstance(shape, Array) else 1


def number_of(kind: np.dtype[Any]) -> Number:
    """Return what the entries of an array or a field are once they are read."""
    return FLOAT if kind.kind == "f" else INT


def shape_of(value: Any) -> Shape:
    """Return the shape of nested tuples of arrays and numbers."""
    if isinstance(value, tuple):
        return Row(type(value), tuple(shape_of(item) for item in value))
    if isinstance(value, np.ndarray):
        return Array(value.dtype.base, value.ndim)
    return FLOAT if isinstance(value, float) else INT


def packed(value: Any) -> list[int]:
    """Return the words of nested tuples of arrays and numbers; the arrays must outlive them."""
    if isinstance(value, tuple):
        return [word for item in value for word in packed(item)]
    if isinstance(value, np.ndarray):
        return [value.ctypes.data, *value.shape]
    return [int(np.array(value, dtype=np.float64).view(np.int64)) if isinstance(value, float) else int(value)]
