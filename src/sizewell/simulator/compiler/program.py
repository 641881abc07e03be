"""Turns functions of the simulator into LLVM code: the plain subset of Python they are written in, and no more.

Names keep the type of their first value. Integers and floats are 64 bits wide, `//` and `%` round down as in Python,
and nothing is checked: what a function does beyond that subset is refused when it is translated.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from llvmlite import ir

from sizewell.simulator.compiler.shapes import Number, Shape
from sizewell.simulator.compiler.statements import FunctionWriter
from sizewell.simulator.compiler.values import I64, Translated, declared_shape


class Program:
    """One LLVM module, and the functions in it by what they are made from and called with."""

    def __init__(self) -> None:
        self.module = ir.Module(name="simulator")
        self._known: dict[tuple[FunctionType, tuple[Shape, ...]], Translated] = {}
        self._classes: dict[Any, Any] = {}
        self._root = self.module.add_metadata(["memory"])

    def function(self, function: FunctionType, given: tuple[Shape, ...]) -> Translated:
        """Return a function translated for arguments of these shapes."""
        shapes = _declared(function, given)
        key = (function, shapes)
        if key not in self._known:
            self._known[key] = FunctionWriter(self, function, shapes).write()
        return self._known[key]

    def memory_class(self, name: str) -> Any:
        """Return the mark of memory that only holds one thing: two different ones never overlap."""
        if name not in self._classes:
            kind = self.module.add_metadata([name, self._root])
            self._classes[name] = self.module.add_metadata([kind, kind, ir.Constant(I64, 0)])
        return self._classes[name]


def _declared(function: FunctionType, given: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Return the shapes of parameters: numbers as the function declares them, all else as it is given."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    said = [declared_shape(function.__annotations__.get(name), function) for name in names]
    return tuple(one if isinstance(one, Number) else other for one, other in zip(said, given, strict=True))
