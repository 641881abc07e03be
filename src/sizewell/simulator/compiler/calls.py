"""Calls in LLVM code: other functions of the simulator, new tuples, and the few built-in ones."""

from __future__ import annotations

import ast
import math
from types import FunctionType
from typing import Any

from llvmlite import ir

from sizewell.simulator.compiler.expressions import Expressions
from sizewell.simulator.compiler.shapes import BOOL, FLOAT, INT, Row
from sizewell.simulator.compiler.values import I64, REAL, Value

CALLS = {math.log: "llvm.log", math.sqrt: "llvm.sqrt", math.exp: "llvm.exp", math.ceil: "llvm.ceil",
         math.floor: "llvm.floor"}  # fmt: skip


class Calls(Expressions):
    """Writes the calls of one function."""

    def _call(self, node: ast.Call) -> Value:
        assert isinstance(node.func, ast.Name) and not node.keywords, ast.unparse(node)
        callee = self.names.get(node.func.id)
        given = [self.value(each) for each in node.args]
        if isinstance(callee, FunctionType):
            return self._called(callee, given)
        if isinstance(callee, type) and issubclass(callee, tuple):
            return self._made(callee, given)
        if callee in CALLS:
            return self._mathematics(callee, given[0])
        built_in = getattr(self, f"_built_in_{node.func.id}", None)
        return built_in(given) if built_in else self._refused(node)

    def _called(self, callee: FunctionType, given: list[Value]) -> Value:
        given += [self._constant_value(each, ast.Pass(lineno=0)) for each in self._defaults(callee, len(given))]
        target = self.program.function(callee, tuple(value.shape for value in given))
        arguments: list[Any] = []
        space = None
        if isinstance(target.result, Row):
            space = self.space(target.result)
            arguments.append(space)
        for value, shape in zip(given, target.parameters, strict=True):
            arguments += self.converted(value, shape).parts
        result = self.builder.call(target.code, arguments)
        return Value(target.result or INT, (space if space is not None else result,))

    def _defaults(self, callee: FunctionType, given: int) -> tuple[Any, ...]:
        missing = callee.__code__.co_argcount - given
        return (callee.__defaults__ or ())[-missing:] if missing else ()

    def _made(self, made_by: type, given: list[Value]) -> Value:
        names = made_by._fields  # type: ignore[attr-defined]
        defaults = made_by._field_defaults  # type: ignore[attr-defined]
        given += [self._constant_value(defaults[name], ast.Pass(lineno=0)) for name in names[len(given) :]]
        numbers = {"int": INT, "float": FLOAT, "bool": BOOL}
        said = [numbers.get(str(made_by.__annotations__[name])) for name in names]
        items = [self.converted(v, shape) if shape else v for v, shape in zip(given, said, strict=True)]
        return self.row(made_by, items)

    def _mathematics(self, callee: Any, given: Value) -> Value:
        kind = ir.FunctionType(REAL, [REAL])
        code = self.program.module.declare_intrinsic(CALLS[callee], [REAL], kind)
        result = self.builder.call(code, [self.converted(given, FLOAT).parts[0]])
        if callee in (math.ceil, math.floor):
            return Value(INT, (self.builder.fptosi(result, I64),))
        return Value(FLOAT, (result,))

    def _built_in_len(self, given: list[Value]) -> Value:
        return Value(INT, (given[0].parts[1],))

    def _built_in_int(self, given: list[Value]) -> Value:
        if given[0].shape == FLOAT:
            return Value(INT, (self.builder.fptosi(given[0].parts[0], I64),))
        return self.converted(given[0], INT)

    def _built_in_float(self, given: list[Value]) -> Value:
        return self.converted(given[0], FLOAT)

    def _built_in_bool(self, given: list[Value]) -> Value:
        return self.converted(given[0], BOOL)

    def _built_in_min(self, given: list[Value]) -> Value:
        return self._extreme("<", given)

    def _built_in_max(self, given: list[Value]) -> Value:
        return self._extreme(">", given)

    def _extreme(self, sign: str, given: list[Value]) -> Value:
        shape = FLOAT if FLOAT in [value.shape for value in given] else INT
        best = self.converted(given[0], shape)
        for value in given[1:]:
            other = self.converted(value, shape)
            better = self._compared(sign, other, best)
            best = Value(shape, (self.builder.select(better, other.parts[0], best.parts[0]),))
        return best
