"""Functions and statements of the simulator in LLVM code."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import Any

from llvmlite import ir

from sizewell.simulator.compiler.calls import Calls
from sizewell.simulator.compiler.memory import Memory
from sizewell.simulator.compiler.shapes import INT, Array, Number, Record, Row, Shape
from sizewell.simulator.compiler.values import (
    I64,
    NOTHING,
    POINTER,
    Functions,
    Translated,
    Value,
    argument_types,
    declared_shape,
    syntax_of,
)  # fmt: skip


class FunctionWriter(Calls):
    """Writes one function for one choice of argument shapes."""

    def __init__(self, program: Functions, function: FunctionType, shapes: tuple[Shape, ...]) -> None:
        self.program, self.shapes = program, shapes
        self.names, self.title = function.__globals__, f"{function.__module__}.{function.__qualname__}"
        self.tree = syntax_of(function)
        self.variables: dict[str, tuple[Shape, Any]] = {}
        self.loops: list[tuple[Any, Any]] = []
        declared = function.__annotations__.get("return")
        self.returns_nothing = declared in (None, "None")
        self.declared = None if self.returns_nothing else declared_shape(declared, function)
        self.result: Shape | None = self.declared

    def write(self) -> Translated:
        """Write the function, and before it those it calls."""
        types = [kind for shape in self.shapes for kind in argument_types(shape)]
        by_value = isinstance(self.declared, Number)
        if not by_value and not self.returns_nothing:
            types.insert(0, POINTER)
        returned = argument_types(self.declared)[0] if self.declared is not None and by_value else NOTHING
        name = f"{self.title}.{len(self.program.module.functions)}"
        code = ir.Function(self.program.module, ir.FunctionType(returned, types), name)
        code.linkage = "internal"
        self.builder = ir.IRBuilder(code.append_basic_block("start"))
        self.memory = Memory(self.program, self.builder)
        self._take_arguments(list(code.args)[len(types) - sum(len(argument_types(s)) for s in self.shapes) :])
        self.target = code.args[0] if not by_value and not self.returns_nothing else None
        # Code begins in a block of its own: memory for variables is set aside before it.
        body = self.builder.append_basic_block("body")
        self.builder.branch(body)
        self.builder.position_at_end(body)
        self._block(self.tree.body)
        self._end(returned)
        return Translated(code, self.shapes, self.result)

    def _end(self, returned: Any) -> None:
        if self.builder.block.is_terminated:
            return
        if self.returns_nothing:
            self.builder.ret_void()
        else:
            self.builder.unreachable()

    def _take_arguments(self, given: list[Any]) -> None:
        rewritten = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)
                     and isinstance(node.ctx, ast.Store)}  # fmt: skip
        for argument, shape in zip(self.tree.args.args, self.shapes, strict=True):
            count = len(argument_types(shape))
            value, given = Value(shape, tuple(given[:count])), given[count:]
            if isinstance(shape, Row) and argument.arg not in rewritten:
                self.variables[argument.arg] = (shape, value.parts[0])
            else:
                self._assign_name(argument.arg, value)

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            getattr(self, f"_{type(statement).__name__.lower()}_", self._refused)(statement)
            if self.builder.block.is_terminated:
                return

    def _expr_(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def _assign_(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self._assign_to(target, value)

    def _assign_to(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self._assign_name(target.id, value)
        elif isinstance(target, ast.Tuple):
            assert isinstance(value.shape, Row)
            items = [self.memory.item(value, place) for place in range(len(target.elts))]
            for one, item in zip(target.elts, items, strict=True):
                self._assign_to(one, item)
        elif isinstance(target, ast.Attribute):
            self._set_field(self.value(target.value), target.attr, value)
        elif isinstance(target, ast.Subscript):
            self._set_entry(self.value(target.value), self.indices(target.slice), value)
        else:
            self._refused(target)

    def _assign_name(self, name: str, value: Value) -> None:
        if name not in self.variables:
            self.variables[name] = (value.shape, self.space(value.shape))
        shape, place = self.variables[name]
        if isinstance(shape, Number):
            value = self.converted(value, shape)
        elif shape != value.shape:
            raise TypeError(f"{self.title}: {name} changes its type")
        self.memory.store(value, place)

    def _set_field(self, record: Value, name: str, value: Value) -> None:
        assert isinstance(record.shape, Record)
        before = self.memory.field(record, name)
        self.memory.set_field(record, name, self.converted(value, before.shape))

    def _set_entry(self, array: Value, indices: list[Any], value: Value) -> None:
        assert isinstance(array.shape, Array)
        wanted = self.memory.entry(array, indices).shape
        pointer = self.memory.entry_pointer(array, indices)
        self.memory.write(array.shape.item, pointer, array.shape.item.str, self.converted(value, wanted))

    def _augassign_(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Attribute):
            record = self.value(node.target.value)
            before = self.memory.field(record, node.target.attr)
            result = self.combined(node.op, before, self.value(node.value), node)
            self._set_field(record, node.target.attr, result)
        elif isinstance(node.target, ast.Subscript):
            array, indices = self.value(node.target.value), self.indices(node.target.slice)
            before = self.memory.entry(array, indices)
            self._set_entry(array, indices, self.combined(node.op, before, self.value(node.value), node))
        else:
            assert isinstance(node.target, ast.Name)
            before = self.memory.loaded(*self.variables[node.target.id])
            self._assign_name(node.target.id, self.combined(node.op, before, self.value(node.value), node))

    def _return_(self, node: ast.Return) -> None:
        if node.value is None:
            self.builder.ret_void()
            return
        value = self.value(node.value)
        if isinstance(self.declared, Number):
            self.builder.ret(self.converted(value, self.declared).parts[0])
            return
        value = self._as_declared(value)
        self.result = value.shape
        self.memory.store(value, self.target)
        self.builder.ret_void()

    def _as_declared(self, value: Value) -> Value:
        """Return a tuple with its numbers as the function declares them."""
        if not isinstance(self.declared, Row) or self.declared == value.shape:
            return value
        items = [self.memory.item(value, place) for place in range(len(self.declared.items))]
        kept = [self.converted(item, shape) for item, shape in zip(items, self.declared.items, strict=True)]
        return self.row(tuple, kept)

    def _if_(self, node: ast.If) -> None:
        blocks = [self.builder.append_basic_block(name) for name in ("then", "else", "after")]
        self.builder.cbranch(self.condition(node.test), blocks[0], blocks[1])
        for block, statements in zip(blocks, (node.body, node.orelse), strict=False):
            self.builder.position_at_end(block)
            self._block(statements)
            if not self.builder.block.is_terminated:
                self.builder.branch(blocks[2])
        self.builder.position_at_end(blocks[2])

    def _while_(self, node: ast.While) -> None:
        test, body, after = (self.builder.append_basic_block(name) for name in ("test", "loop", "after"))
        self.builder.branch(test)
        self.builder.position_at_end(test)
        self.builder.cbranch(self.condition(node.test), body, after)
        self._loop(node.body, body, test, after)

    def _loop(self, statements: list[ast.stmt], body: Any, again: Any, after: Any) -> None:
        self.builder.position_at_end(body)
        self.loops.append((again, after))
        self._block(statements)
        self.loops.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(again)
        self.builder.position_at_end(after)

    def _for_(self, node: ast.For) -> None:
        if isinstance(node.iter, ast.Tuple):
            for each in node.iter.elts:
                self._assign_to(node.target, self.value(each))
                self._block(node.body)
            return
        assert isinstance(node.iter, ast.Call) and isinstance(node.target, ast.Name)
        limits = [self.number(each, INT) for each in node.iter.args]
        one = ir.Constant(I64, 1)
        start, stop, step = (ir.Constant(I64, 0), limits[0], one) if len(limits) == 1 else (*limits, one)[:3]
        sign = ">" if len(limits) == 3 and ast.unparse(node.iter.args[2]).startswith("-") else "<"
        counter = self.space(INT)
        self.memory.store(Value(INT, (start,)), counter)
        test, body, again, after = (self.builder.append_basic_block(n) for n in ("test", "loop", "again", "after"))
        self.builder.branch(test)
        self.builder.position_at_end(test)
        at = self.memory.loaded(INT, counter)
        self.builder.cbranch(self.builder.icmp_signed(sign, at.parts[0], stop), body, after)
        self.builder.position_at_end(body)
        self._assign_name(node.target.id, at)
        self._loop(node.body, body, again, after)
        self.builder.position_at_end(again)
        stepped = self.builder.add(self.memory.loaded(INT, counter).parts[0], step)
        self.memory.store(Value(INT, (stepped,)), counter)
        self.builder.branch(test)
        self.builder.position_at_end(after)

    def _break_(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])

    def _continue_(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])
