"""The compiled twin of the simulator: machine code made from the very functions that also run as plain Python.

Compiling takes a second or two. A `CodeStore` handed in keeps the code for the next process, under a name that
changes with anything the code depends on.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from types import CodeType, FunctionType
from typing import Any, Protocol

import numpy as np

from sizewell.simulator.compiler.shapes import Shape, packed, shape_of

ENTRY = "entry"
COMPILER = tuple(
    f"sizewell.simulator.compiler.{name}"
    for name in ("shapes", "values", "memory", "expressions", "calls", "statements", "program")
)


class CodeStore(Protocol):
    """Where compiled code is kept between processes."""

    def read(self, name: str) -> bytes | None:
        """Return what was kept under a name, None if nothing was."""

    def write(self, name: str, code: bytes) -> None:
        """Keep code under a name."""


class Twin:
    """A function over one tuple of arrays, compiled for the shapes it is first called with."""

    def __init__(self, function: Callable[..., Any], store: CodeStore | None = None) -> None:
        self.function, self.store = function, store

    def __call__(self, world: Any) -> int:
        return self.on(world)()

    def on(self, world: Any) -> Callable[[], int]:
        """Return the call on one world, for who makes it often; its arrays must stay where they are."""
        code = _loaded(self.function, shape_of(world), self.store)
        memory = np.array(packed(world), dtype=np.int64)
        address = memory.ctypes.data

        def call(_kept: Any = (memory, world)) -> int:
            return int(code(address))

        return call


def _loaded(function: Any, shape: Shape, store: CodeStore | None) -> Callable[[int], int]:
    if (function, shape) not in _CODE:
        code = store.read(_name(function, shape)) if store else None
        if code is None:
            code = _compiled(function, shape)
            if store:
                store.write(_name(function, shape), code)
        _CODE[function, shape] = _Loaded(code)
    return _CODE[function, shape].entry


class _Loaded:
    """Machine code in memory: it goes when this goes."""

    def __init__(self, code: bytes) -> None:
        from llvmlite import binding

        self.engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())
        self.engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self.engine.finalize_object()
        make = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
        self.entry: Callable[[int], int] = make(self.engine.get_function_address(ENTRY))


_CODE: dict[tuple[Any, Shape], _Loaded] = {}


def _compiled(function: Any, shape: Shape) -> bytes:
    """Return the machine code of a function and all it calls, as an object file."""
    from llvmlite import binding, ir

    from sizewell.simulator.compiler.program import Program
    from sizewell.simulator.compiler.values import I64, POINTER

    program = Program()
    inner = program.function(function, (shape,))
    entry = ir.Function(program.module, ir.FunctionType(I64, [POINTER]), ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    result = builder.call(inner.code, [entry.args[0]])
    builder.ret(result if inner.result is not None else ir.Constant(I64, 0))
    module = binding.parse_assembly(str(program.module))
    options = binding.create_pipeline_tuning_options(speed_level=2)
    passes = binding.create_pass_builder(_machine(), options)
    passes.getModulePassManager().run(module, passes)
    code: bytes = _machine().emit_object(module)
    return code


@cache
def _machine() -> Any:
    """Return the description of this machine's processor."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(
        opt=2, cpu=binding.get_host_cpu_name(), features=_features(), jit=True
    )


def _features() -> str:
    from llvmlite import binding

    found: str = binding.get_host_cpu_features().flatten()
    return found


def _name(function: Any, shape: Shape) -> str:
    """Return a name that differs where functions, shapes, compiler, processor or Python differ."""
    import llvmlite

    said = [_said(code) for module in sorted(_modules(function)) if (code := _code_of(module))]
    where = platform.python_version(), llvmlite.__version__, _features(), repr(shape)
    return f"{function.__name__}-{sha256(repr((where, said)).encode()).hexdigest()[:20]}"


def _modules(function: Any) -> set[str]:
    """Return the modules whose functions a function reaches, and those of the compiler."""
    found, ahead = {*COMPILER}, [function]
    seen: set[Any] = set()
    while ahead:
        one = ahead.pop()
        if isinstance(one, FunctionType) and one not in seen and one.__module__.startswith("sizewell."):
            seen.add(one)
            found.add(one.__module__)
            ahead += [one.__globals__.get(name) for name in one.__code__.co_names]
    return found


def _code_of(module: str) -> CodeType | None:
    loader: Any = getattr(find_spec(module), "loader", None)
    code: CodeType | None = loader.get_code(module) if loader else None
    return code


def _said(code: CodeType) -> tuple[Any, ...]:
    return code.co_code, code.co_names, code.co_varnames, tuple(_constants(code))


def _constants(code: CodeType) -> Iterator[Any]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield _said(each)
        else:
            # Sets have no order of their own.
            yield sorted(map(repr, each)) if isinstance(each, frozenset) else each
