"""Reads and writes of memory in LLVM code: words of tuples, entries of arrays, fields of records."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from sizewell.simulator.compiler.shapes import BOOL, FLOAT, INT, Array, Number, Record, Row, Shape, number_of, words
from sizewell.simulator.compiler.values import I1, I32, I64, POINTER, REAL, Functions, Value

TUPLES = "tuples"
"""All tuples share one class of memory: they are copied word by word."""


class Memory:
    """Writes the reads and writes of one function."""

    def __init__(self, program: Functions, builder: ir.IRBuilder) -> None:
        self.program, self.builder = program, builder

    def shifted(self, pointer: Any, byte_count: Any) -> Any:
        """Return a pointer so many bytes on."""
        return self.builder.gep(pointer, [byte_count], source_etype=ir.IntType(8))

    def item(self, row: Value, place: int) -> Value:
        """Return what a tuple holds at a place."""
        assert isinstance(row.shape, Row)
        start = ir.Constant(I64, 8 * row.shape.offset(place))
        return self.loaded(row.shape.items[place], self.shifted(row.parts[0], start))

    def loaded(self, shape: Shape, pointer: Any) -> Value:
        """Return the value that lies at a pointer as words."""
        if isinstance(shape, Row):
            return Value(shape, (pointer,))
        if isinstance(shape, Number):
            word = self._load(REAL if shape == FLOAT else I64, pointer, TUPLES)
            return Value(shape, (self.builder.trunc(word, I1) if shape == BOOL else word,))
        parts = [self._load(POINTER, pointer, TUPLES)]
        for place in range(words(shape) - 1):
            behind = self.shifted(pointer, ir.Constant(I64, 8 * place + 8))
            parts.append(self._load(I64, behind, TUPLES))
        return Value(shape, tuple(parts))

    def store(self, value: Value, pointer: Any) -> None:
        """Write a value as words."""
        if isinstance(value.shape, Row):
            for place in range(words(value.shape)):
                step = ir.Constant(I64, 8 * place)
                word = self._load(I64, self.shifted(value.parts[0], step), TUPLES)
                self._store(word, self.shifted(pointer, step), TUPLES)
            return
        parts = value.parts
        if value.shape == BOOL:
            parts = (self.builder.zext(parts[0], I64),)
        for place, part in enumerate(parts):
            self._store(part, self.shifted(pointer, ir.Constant(I64, 8 * place)), TUPLES)

    def entry(self, array: Value, indices: list[Any]) -> Value:
        """Return an entry of an array, or the part of it that fewer indices leave."""
        assert isinstance(array.shape, Array)
        pointer, lengths = array.parts[0], array.parts[1:]
        at: Any = None
        for place in range(array.shape.dimensions):
            index = indices[place] if place < len(indices) else ir.Constant(I64, 0)
            at = index if at is None else self.builder.add(self.builder.mul(at, lengths[place]), index)
        item = array.shape.item
        pointer = self.shifted(pointer, self.builder.mul(at, ir.Constant(I64, item.itemsize)))
        left = array.shape.dimensions - len(indices)
        if left:
            return Value(Array(item, left), (pointer, *lengths[len(indices) :]))
        if item.names is not None:
            return Value(Record(item), (pointer,))
        return self._read(item, pointer, item.str)

    def entry_pointer(self, array: Value, indices: list[Any]) -> Any:
        """Return where an entry lies."""
        item = array.shape.item  # type: ignore[union-attr]
        as_bytes = Array(np.dtype([("entry", item)]), array.shape.dimensions)  # type: ignore[union-attr]
        return self.entry(Value(as_bytes, array.parts), indices).parts[0]

    def field(self, record: Value, name: str) -> Value:
        """Return a field of a record."""
        kind, pointer = self._field(record, name)
        return self._read(kind, pointer, f"{record.shape.kind}.{name}")  # type: ignore[union-attr]

    def set_field(self, record: Value, name: str, value: Value) -> None:
        """Write a field of a record."""
        kind, pointer = self._field(record, name)
        self.write(kind, pointer, f"{record.shape.kind}.{name}", value)  # type: ignore[union-attr]

    def write(self, kind: np.dtype[Any], pointer: Any, memory: str, value: Value) -> None:
        """Write a number as an entry or a field."""
        part = value.parts[0]
        if kind.kind != "f" and kind.itemsize == 4:
            part = self.builder.trunc(part, I32)
        self._store(part, pointer, memory)

    def _field(self, record: Value, name: str) -> tuple[np.dtype[Any], Any]:
        assert isinstance(record.shape, Record) and record.shape.kind.fields is not None
        kind, offset = record.shape.kind.fields[name][:2]
        return kind, self.shifted(record.parts[0], ir.Constant(I64, offset))

    def _read(self, kind: np.dtype[Any], pointer: Any, memory: str) -> Value:
        number = number_of(kind)
        if number == INT and kind.itemsize == 4:
            return Value(INT, (self.builder.sext(self._load(I32, pointer, memory), I64),))
        return Value(number, (self._load(REAL if number == FLOAT else I64, pointer, memory),))

    def _load(self, kind: Any, pointer: Any, memory: str) -> Any:
        loaded = self.builder.load(pointer, typ=kind)
        loaded.set_metadata("tbaa", self.program.memory_class(memory))
        return loaded

    def _store(self, value: Any, pointer: Any, memory: str) -> None:
        self.builder.store(value, pointer).set_metadata("tbaa", self.program.memory_class(memory))
