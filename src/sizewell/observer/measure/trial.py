"""Which number types a device multiplies: each is tried on a small product."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.observer.measure.bench import Bench
from sizewell.observer.measure.kernels import prepare_kernel
from sizewell.specs.machine_figure import Probe

_WIDE, _NARROW = ("bf16", "fp16", "fp32"), ("fp8", "int8")
_SHAPE = {"m": 256, "n": 256, "k": 256}
_REPEATS = 5
_EMULATED = 4.0
"""A narrow type this many times slower than the fastest wide one is computed in another type."""


def tried_types(bench: Bench) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Return the types worth measuring, and for each of the others why not."""
    took: dict[str, float] = {}
    fails: dict[str, str] = {}
    for dtype in (*_WIDE, *_NARROW):
        try:
            prepared = prepare_kernel(bench, Probe(kind="gemm", op="gemm", dtype=dtype, shape=_SHAPE))
            took[dtype] = min(bench.times_s(prepared.run, _REPEATS, flush=False))
        except (RuntimeError, TypeError, AttributeError) as error:
            # Old releases lack a type or a function, devices lack kernels: each says so in its own way.
            fails[dtype] = first_line(error)
    best = min((took[name] for name in _WIDE if name in took), default=0.0)
    for name in _NARROW:
        if name in took and took[name] > _EMULATED * best:
            fails[name] = f"emulated, {took[name] / best:.0f} times slower than wider types"
    return tuple(name for name in took if name not in fails), fails


def first_line(error: BaseException) -> str:
    """Return the first line of what went wrong: PyTorch adds pages about its allocator."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
