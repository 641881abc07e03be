"""Turns functions of the simulator into LLVM code: the plain subset of Python they are written in, and no more.

Names keep the type of their first value. Integers and floats are 64 bits wide, `//` and `%` round down as in Python,
and nothing is checked: what a function does beyond that subset is refused when it is translated.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from textwrap import dedent
from types import FunctionType
from typing import Any, NamedTuple, get_args, get_origin

from llvmlite import ir

from sizewell.simulator.shapes import BOOL, FLOAT, INT, Array, Number, Record, Row, Shape, words

I1, I32, I64, REAL, POINTER, NOTHING = (
    ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.DoubleType(), ir.PointerType(), ir.VoidType(),
)  # fmt: skip


class Value(NamedTuple):
    """A value while code is written: its shape, and the LLVM values it is made of (arrays: pointer and lengths)."""

    shape: Shape
    parts: tuple[Any, ...]


class Translated(NamedTuple):
    """A function in LLVM: `result` None for nothing; tuples are written where the first argument points."""

    code: Any
    parameters: tuple[Shape, ...]
    result: Shape | None


class Program:
    """One LLVM module, and the functions in it by what they are made from and called with."""

    def __init__(self) -> None:
        self.module = ir.Module(name="simulator")
        self._known: dict[tuple[FunctionType, tuple[Shape, ...]], Translated] = {}
        self._classes: dict[Any, Any] = {}
        self._root = self.module.add_metadata(["memory"])

    def function(self, function: FunctionType, given: tuple[Shape, ...]) -> Translated:
        """Return a function translated for arguments of these shapes."""
        from sizewell.simulator.statements import FunctionWriter

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


def declared_shape(annotation: Any, function: Callable[..., Any]) -> Shape | None:
    """Return the shape an annotation fixes, None where only a value can tell."""
    if isinstance(annotation, str):
        annotation = eval(annotation, function.__globals__)  # noqa: S307: our own source
    simple = {int: INT, float: FLOAT, bool: BOOL}
    if annotation in simple:
        return simple[annotation]
    if get_origin(annotation) is tuple:
        items = tuple(declared_shape(item, function) for item in get_args(annotation))
        return Row(tuple, items) if None not in items else None  # type: ignore[arg-type]
    return None


def syntax_of(function: FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of a function."""
    tree = ast.parse(dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return tree


def argument_types(shape: Shape) -> list[Any]:
    """Return the LLVM types by which a value is passed."""
    if isinstance(shape, Number):
        return [REAL if shape == FLOAT else I1 if shape == BOOL else I64]
    if isinstance(shape, Array):
        return [POINTER] + [I64] * shape.dimensions
    return [POINTER]


def stored_words(shape: Shape) -> Any:
    """Return the LLVM type that holds a value in memory."""
    return ir.ArrayType(I64, max(words(shape), 1))


__all__ = [
    "I1", "I32", "I64", "NOTHING", "POINTER", "REAL", "Array", "Program", "Record", "Translated", "Value",
    "argument_types", "declared_shape", "stored_words", "syntax_of",
]  # fmt: skip
