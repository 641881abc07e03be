"""Expressions of the simulator's functions in LLVM code."""

from __future__ import annotations

import ast
from typing import Any

from llvmlite import ir

from sizewell.simulator.compiler.memory import Memory
from sizewell.simulator.compiler.shapes import BOOL, FLOAT, INT, Number, Record, Row, Shape
from sizewell.simulator.compiler.values import (
    I1,
    I64,
    POINTER,
    REAL,
    Functions,
    Value,
    stored_words,
)  # fmt: skip

SIGNS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
WHOLE = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
         ast.LShift: "shl", ast.RShift: "ashr"}  # fmt: skip
BROKEN = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}


class Expressions:
    """Writes the expressions of one function; statements are written by its subclass."""

    program: Functions
    names: dict[str, Any]
    title: str
    builder: ir.IRBuilder
    memory: Memory
    variables: dict[str, tuple[Shape, Any]]

    def value(self, node: ast.expr) -> Value:
        """Return the value of an expression."""
        found: Value = getattr(self, f"_{type(node).__name__.lower()}", self._refused)(node)
        return found

    def number(self, node: ast.expr, wanted: Shape | None = None) -> Any:
        """Return the one LLVM value of a number, converted to the type wanted."""
        value = self.value(node)
        return (self.converted(value, wanted) if wanted is not None else value).parts[0]

    def condition(self, node: ast.expr) -> Any:
        """Return whether an expression holds."""
        return self.converted(self.value(node), BOOL).parts[0]

    def converted(self, value: Value, wanted: Shape) -> Value:
        """Return a number as another type of number; anything else as it is."""
        have, build = value.shape, self.builder
        if have == wanted or not isinstance(wanted, Number):
            return value
        part = value.parts[0]
        if wanted == BOOL:
            truth = build.fcmp_unordered("!=", part, ir.Constant(REAL, 0.0)) if have == FLOAT else None
            return Value(BOOL, (truth or build.icmp_signed("!=", part, ir.Constant(I64, 0)),))
        if have == BOOL:
            part = build.zext(part, I64)
            have = INT
        if wanted == FLOAT:
            return Value(FLOAT, (build.sitofp(part, REAL) if have == INT else part,))
        if have == FLOAT:
            raise TypeError(f"{self.title}: a float where an integer is declared: say int(…)")
        return Value(INT, (part,))

    def space(self, shape: Shape) -> Any:
        """Return memory for a value, set aside once for the whole function."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(stored_words(shape))
        place.type = POINTER
        return place

    def _refused(self, node: ast.AST) -> Value:
        raise TypeError(f"{self.title}: line {node.lineno}: {ast.unparse(node)} is not translated")  # type: ignore[attr-defined]

    def _constant(self, node: ast.Constant) -> Value:
        return self._constant_value(node.value, node)

    def _constant_value(self, given: Any, node: ast.AST) -> Value:
        if isinstance(given, bool):
            return Value(BOOL, (ir.Constant(I1, int(given)),))
        if isinstance(given, int):
            return Value(INT, (ir.Constant(I64, given),))
        if isinstance(given, float):
            return Value(FLOAT, (ir.Constant(REAL, given),))
        return self._refused(node)

    def _name(self, node: ast.Name) -> Value:
        if node.id in self.variables:
            return self.memory.loaded(*self.variables[node.id])
        return self._constant_value(self.names.get(node.id), node)

    def _attribute(self, node: ast.Attribute) -> Value:
        held = self.value(node.value)
        if isinstance(held.shape, Record):
            return self.memory.field(held, node.attr)
        if isinstance(held.shape, Row) and node.attr in held.shape.names:
            return self.memory.item(held, held.shape.names.index(node.attr))
        return self._refused(node)

    def _subscript(self, node: ast.Subscript) -> Value:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            return Value(INT, (self.value(node.value.value).parts[1 + ast.literal_eval(node.slice)],))
        held = self.value(node.value)
        if isinstance(held.shape, Row):
            return self.memory.item(held, ast.literal_eval(node.slice))
        if isinstance(node.slice, ast.Slice):
            return self._part(held, node.slice)
        return self.memory.entry(held, self.indices(node.slice))

    def indices(self, node: ast.expr) -> list[Any]:
        """Return the indices of a subscript."""
        return [self.number(each, INT) for each in (node.elts if isinstance(node, ast.Tuple) else [node])]

    def _part(self, held: Value, limits: ast.Slice) -> Value:
        assert limits.lower is not None and limits.upper is not None
        low, high = self.number(limits.lower, INT), self.number(limits.upper, INT)
        pointer = self.memory.entry_pointer(held, [low])
        return Value(held.shape, (pointer, self.builder.sub(high, low), *held.parts[2:]))

    def _tuple(self, node: ast.Tuple) -> Value:
        return self.row(tuple, [self.value(each) for each in node.elts])

    def row(self, made_by: type, items: list[Value]) -> Value:
        """Return a new tuple."""
        shape = Row(made_by, tuple(item.shape for item in items))
        space = self.space(shape)
        for place, item in enumerate(items):
            start = ir.Constant(I64, 8 * shape.offset(place))
            self.memory.store(item, self.memory.shifted(space, start))
        return Value(shape, (space,))

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(BOOL, (self.builder.not_(self.condition(node.operand)),))
        value = self.value(node.operand)
        if not isinstance(node.op, ast.USub):
            return self._refused(node)
        negate = self.builder.fneg if value.shape == FLOAT else self.builder.neg
        return Value(value.shape, (negate(value.parts[0]),))

    def _binop(self, node: ast.BinOp) -> Value:
        return self.combined(node.op, self.value(node.left), self.value(node.right), node)

    def combined(self, sign: ast.operator, one: Value, other: Value, node: ast.AST) -> Value:
        """Return the result of an arithmetic operation."""
        kind, build = type(sign), self.builder
        if FLOAT in (one.shape, other.shape) or kind is ast.Div:
            if kind not in BROKEN:
                return self._refused(node)
            left, right = (self.converted(each, FLOAT).parts[0] for each in (one, other))
            return Value(FLOAT, (getattr(build, BROKEN[kind])(left, right),))
        left, right = (self.converted(each, INT).parts[0] for each in (one, other))
        if kind in (ast.FloorDiv, ast.Mod):
            return Value(INT, (self._rounded_down(kind, left, right),))
        if kind not in WHOLE:
            return self._refused(node)
        return Value(INT, (getattr(build, WHOLE[kind])(left, right),))

    def _rounded_down(self, kind: type, left: Any, right: Any) -> Any:
        build, zero = self.builder, ir.Constant(I64, 0)
        rest = build.srem(left, right)
        opposed = build.icmp_signed("<", build.xor(rest, right), zero)
        off = build.and_(build.icmp_signed("!=", rest, zero), opposed)
        if kind is ast.Mod:
            return build.select(off, build.add(rest, right), rest)
        return build.sub(build.sdiv(left, right), build.zext(off, I64))

    def _compare(self, node: ast.Compare) -> Value:
        left = self.value(node.left)
        truth: Any = None
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(sign, ast.In | ast.NotIn):
                return self._among(left, sign, right)
            value = self.value(right)
            one = self._compared(SIGNS[type(sign)], left, value)
            truth = one if truth is None else self.builder.and_(truth, one)
            left = value
        return Value(BOOL, (truth,))

    def _compared(self, sign: str, one: Value, other: Value) -> Any:
        if FLOAT in (one.shape, other.shape):
            left, right = (self.converted(each, FLOAT).parts[0] for each in (one, other))
            compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
            return compare(sign, left, right)
        return self.builder.icmp_signed(sign, *(self.converted(each, INT).parts[0] for each in (one, other)))

    def _among(self, value: Value, sign: ast.cmpop, choices: ast.expr) -> Value:
        assert isinstance(choices, ast.Tuple)
        truth: Any = ir.Constant(I1, 0)
        for choice in choices.elts:
            truth = self.builder.or_(truth, self._compared("==", value, self.value(choice)))
        return Value(BOOL, (self.builder.not_(truth) if isinstance(sign, ast.NotIn) else truth,))

    def _boolop(self, node: ast.BoolOp) -> Value:
        result, end = self.space(BOOL), self.builder.append_basic_block("decided")
        for part in node.values:
            truth = self.condition(part)
            self.memory.store(Value(BOOL, (truth,)), result)
            further = self.builder.append_basic_block("further")
            ways = (further, end) if isinstance(node.op, ast.And) else (end, further)
            self.builder.cbranch(truth, *ways)
            self.builder.position_at_end(further)
        self.builder.branch(end)
        self.builder.position_at_end(end)
        return self.memory.loaded(BOOL, result)

    def _ifexp(self, node: ast.IfExp) -> Value:
        blocks = [self.builder.append_basic_block(name) for name in ("chosen", "other", "joined")]
        self.builder.cbranch(self.condition(node.test), blocks[0], blocks[1])
        values, ends = [], []
        for block, part in zip(blocks, (node.body, node.orelse), strict=False):
            self.builder.position_at_end(block)
            values.append(self.value(part))
            ends.append(self.builder.block)
        shape = FLOAT if FLOAT in (values[0].shape, values[1].shape) else values[0].shape
        result = self.space(shape)
        for value, end in zip(values, ends, strict=True):
            self.builder.position_at_end(end)
            self.memory.store(self.converted(value, shape), result)
            self.builder.branch(blocks[2])
        self.builder.position_at_end(blocks[2])
        return self.memory.loaded(shape, result)
