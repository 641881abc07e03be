"""House rules that a linter does not know: sizes of functions and files, docstrings, names of modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOMS = Path(__file__).parents[2] / "src" / "sizewell"
FILES = sorted(ROOMS.rglob("*.py"))
FORBIDDEN_NAMES = {
    "utils",
    "util",
    "common",
    "core",
    "types",
    "helpers",
    "helper",
    "manager",
    "managers",
    "misc",
    "info",
}

ALLOWED_PARAMETERS = {
    "catalog/architectures/recurrent.py::mamba1": "a mixer's own shape, as the config states it",
    "catalog/architectures/mlp.py::_matrices": "a block's own shape; the last is an option with a default",
    "catalog/hub.py::_KeepTokenHome.redirect_request": "the signature the standard library calls",
    "costs/attention_work.py::_decode": "one operator's own numbers, from two callers in one file",
    "costs/batch.py::Batch.mixed": "the axes of a step that mixes decode and prefill",
    "costs/surface.py::decode_run_s": "the axes of a run of steps; the last two are options with defaults",
    "costs/surface.py::decode_steps_within": "the axes of a run of steps; the last two are options with defaults",
    "planner/step_table.py::step_work": "everything a step depends on; the grid has a default",
    "specs/tensor.py::column_parallel": "a tensor's own shape; the last two are options with defaults",
    "specs/tensor.py::row_parallel": "a tensor's own shape; the last two are options with defaults",
}
"""Functions with more than five parameters, each with the reason it may."""

ALLOWED_LENGTH = {
    "catalog/quantization_methods.py": "one reader per quantization method, side by side",
}
"""Files of more than three hundred lines, each with the reason it may."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function or method of the source, with the file it lives in."""

    place: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    public: bool

    @property
    def lines(self) -> int:
        """Lines of the function without its docstring."""
        body = self.node.body
        has_doc = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        doc = (body[0].end_lineno or 0) - body[0].lineno + 1 if has_doc else 0
        return (self.node.end_lineno or 0) - self.node.lineno + 1 - doc

    @property
    def parameters(self) -> int:
        """Parameters, without self, cls and the catch-all ones."""
        given = self.node.args
        named = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        return len([name for name in named if name not in ("self", "cls")]) + (given.vararg is not None)


def _walk(tree: ast.AST, path: str, prefix: str = "", public: bool = True) -> Iterator[Function]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            seen = public and not node.name.startswith("_")
            yield Function(f"{path}::{prefix}{node.name}", node, seen)
            yield from _walk(node, path, f"{prefix}{node.name}.", public=False)
        elif isinstance(node, ast.ClassDef):
            yield from _walk(node, path, f"{prefix}{node.name}.", public and not node.name.startswith("_"))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _walk(node, path, prefix, public)


@cache
def functions() -> tuple[Function, ...]:
    """Every function of the package, read when the first test asks and not by everyone who collects tests."""
    read = ((path.relative_to(ROOMS).as_posix(), ast.parse(path.read_text())) for path in FILES)
    return tuple(function for place, tree in read for function in _walk(tree, place))


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 20
    assert len(functions()) > 50


def test_no_function_is_longer_than_forty_lines() -> None:
    assert [f"{f.place}: {f.lines} lines" for f in functions() if f.lines > 40] == []


def test_no_function_takes_more_than_five_parameters_without_a_stated_reason() -> None:
    many = {f.place: f.parameters for f in functions() if f.parameters > 5}
    assert {place: count for place, count in many.items() if place not in ALLOWED_PARAMETERS} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOMS).as_posix())
def test_no_file_is_longer_than_three_hundred_lines(path: Path) -> None:
    place = path.relative_to(ROOMS).as_posix()
    assert len(path.read_text().splitlines()) <= 300 or place in ALLOWED_LENGTH


def test_every_public_name_has_a_docstring() -> None:
    bare = [f.place for f in functions() if f.public and not ast.get_docstring(f.node)]
    for path in FILES:
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            bare.append(path.name)
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
        bare += [f"{path.name}::{c.name}" for c in classes if not ast.get_docstring(c)]
    assert bare == []


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [path for path in FILES if path.stem in FORBIDDEN_NAMES or path.parent.name in FORBIDDEN_NAMES] == []


def test_no_promise_is_left_in_the_source() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    assert [path for path in FILES if any(word in path.read_text() for word in words)] == []
