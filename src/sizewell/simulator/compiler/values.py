"""What code is made of while it is written: values with their shapes, and what functions say of their types."""

from __future__ import annotations
import __future__

import ast
import inspect
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol, get_args, get_origin

from llvmlite import ir

from sizewell.simulator.compiler.shapes import BOOL, FLOAT, INT, Array, Number, Row, Shape, words
from sizewell.specs.errors import SizewellError

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


class Functions(Protocol):
    """The module code is written into."""

    module: ir.Module

    def function(self, function: FunctionType, given: tuple[Shape, ...]) -> Translated:
        """Return a function translated for arguments of these shapes."""

    def memory_class(self, name: str) -> Any:
        """Return the mark of memory that only holds one thing."""


def declared_shape(annotation: Any, function: FunctionType) -> Shape | None:
    """Return the shape an annotation fixes, None where only a value can tell."""
    if isinstance(annotation, str):
        annotation = eval(annotation, function.__globals__)
    simple = {int: INT, float: FLOAT, bool: BOOL}
    if annotation in simple:
        return simple[annotation]
    if get_origin(annotation) is tuple:
        items = tuple(declared_shape(item, function) for item in get_args(annotation))
        return Row(tuple, items) if None not in items else None  # type: ignore[arg-type]
    return None


def syntax_of(function: FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of a function, made sure to be that of the function and not of a file changed since."""
    source = inspect.getsource(function)
    tree = ast.parse(source).body[0]
    made = compile(source, "source", "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True).co_consts
    code = next((each for each in made if isinstance(each, CodeType)), None)
    if code is None or not isinstance(tree, ast.FunctionDef) or code.co_code != function.__code__.co_code:
        raise SizewellError(f"the source of {function.__qualname__} has changed since it was loaded: start again")
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
