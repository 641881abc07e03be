"""The compiled twin of the simulator: machine code made from the very functions that also run as plain Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from sizewell.simulator.shapes import Shape, packed, shape_of


class Twin:
    """A function over one tuple of arrays, compiled for the shapes it is first called with."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def __call__(self, world: Any) -> int:
        code = _machine_code(self.function, shape_of(world))
        memory = np.array(packed(world), dtype=np.int64)
        return int(code(memory.ctypes.data))


def twin_of(function: Callable[..., Any]) -> Twin:
    """Return the compiled twin of a function."""
    assert isinstance(function, FunctionType)
    return Twin(function)


@cache
def _machine_code(function: FunctionType, shape: Shape) -> Callable[[int], int]:
    """Translate a function with all it calls, optimise, and load it; kept for the life of the process."""
    from llvmlite import binding, ir

    from sizewell.simulator.translation import I64, POINTER, Program

    program = Program()
    inner = program.function(function, (shape,))
    entry = ir.Function(program.module, ir.FunctionType(I64, [POINTER]), "entry")
    builder = ir.IRBuilder(entry.append_basic_block())
    result = builder.call(inner.code, [entry.args[0]])
    builder.ret(result if inner.result is not None else ir.Constant(I64, 0))
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        opt=2, cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten()
    )
    module = binding.parse_assembly(str(program.module))
    options = binding.create_pipeline_tuning_options(speed_level=2)
    builder_of_passes = binding.create_pass_builder(machine, options)
    builder_of_passes.getModulePassManager().run(module, builder_of_passes)
    loaded = binding.create_mcjit_compiler(module, machine)
    loaded.finalize_object()
    _KEPT.append(loaded)
    called: Callable[[int], int] = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(
        loaded.get_function_address("entry")
    )
    return called


_KEPT: list[Any] = []
"""Engines whose code is loaded: it goes when they go."""
