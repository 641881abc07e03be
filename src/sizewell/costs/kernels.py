"""The seconds of kernels, by shape: the same formula for every class, with the parameters of its curve.

    kernel = products × fixed_s + depth × depth_s + units × unit_s + row_bytes / (bandwidth × row_share)
             + ‖ stream, arithmetic ‖₄,                                       ‖a, b‖₄ = (a⁴ + b⁴)^¼ ≥ max(a, b)
    stream     = (hbm_bytes − row_bytes) / (bandwidth × hbm_share)
    arithmetic = flops / (peak × flops_share) × max(1 + pad_rows / (rows + pad_rows), tile_rows / rows)
                 + flops / rows × plain_rows / plain peak

    fixed_s     a kernel starts, fills the chip and drains it, however little it does; so small kernels reach little
                of the bandwidth (half of it at fixed_s × bandwidth bytes)
    depth_s     for each input that is summed over, one after the other in a tile
    unit_s      for each sequence of a batch, each expert that is touched
    row_share   of the bandwidth, for what enters and leaves with each row (activations, not overlapped with the rest)
    hbm_share   of the bandwidth, for what is shared by rows (weights, cached context)
    tile_rows   a matrix instruction multiplies so many rows at least, used or not
    pad_rows    a tile has room for up to so many rows beyond those in use; kernels for fewer rows have smaller tiles
    plain_rows  rows whose arithmetic would take the plain fp32 units as long as what they do beside the matrix units:
                unpack weights, widen cached rows, take a softmax

As no share is above 1, no kernel is faster than its arithmetic or its bytes at stated rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.costs.machines import MOST_REACHED, NARROW, Machines, Reached
from sizewell.costs.work import PRODUCTS, Operator
from sizewell.specs.calibration import KERNEL_PARAMETERS

HALVED = frozenset({"fp16", "bf16"})
"""Products whose sums of 32 bits some cards run at a rate below that of their units."""
FLOPS_SHARE = KERNEL_PARAMETERS.index("flops_share")


class KernelWork(NamedTuple):
    """What kernels of O operators do, arrays of shape [O, B]."""

    flops: Floats
    stream_bytes: Floats
    row_bytes: Floats
    rows: Floats
    units: Floats
    products: Floats
    depth: Floats

    @classmethod
    def of(cls, operators: Sequence[Operator]) -> KernelWork:
        """Return the work of all repeats of some operators."""
        nothing = np.zeros_like(operators[0].flops)
        row_bytes = np.array([o.row_bytes * o.repeats + nothing for o in operators])
        return cls(
            flops=np.array([o.flops * o.repeats for o in operators]),
            stream_bytes=np.array([o.hbm_bytes * o.repeats for o in operators]) - row_bytes,
            row_bytes=row_bytes,
            rows=np.maximum(np.array([o.rows for o in operators]), 1e-9),
            units=np.array([nothing if o.units is None else o.units * o.repeats for o in operators]),
            products=np.array([o.products * o.repeats + nothing for o in operators]),
            depth=np.array([o.depth * o.repeats + nothing for o in operators]),
        )

    def of_fullest(self, operators: Sequence[Operator]) -> KernelWork:
        """Return the work of the fullest rank: more rows, which meet more weights as far as it holds more."""
        skewed = [(row, o.skew, o.stream_skew) for row, o in enumerate(operators) if o.skew is not None]
        if not skewed:
            return self
        fullest = KernelWork(*(field.copy() for field in self))
        for row, rows, weights in skewed:
            fullest.flops[row] *= rows
            fullest.row_bytes[row] *= rows
            fullest.rows[row] *= rows / weights
            fullest.stream_bytes[row] *= weights
            fullest.units[row] *= weights
        return fullest


class Spent(NamedTuple):
    """Seconds of kernels, shapes [O, M, B]: of arithmetic, of the stream, of both; what is `fixed`."""

    arithmetic: Floats
    stream: Floats
    seconds: Floats
    fixed: Floats


class Rates(NamedTuple):
    """Seconds by stated rates: of an operation in its type and on plain units [O, M], of a byte [M]."""

    per_flop: Floats
    per_plain_flop: Floats
    per_byte: Floats


@dataclass(frozen=True, slots=True)
class Kernels:
    """Seconds of each operator, shape [O, M, B], and of all of them without skew at every stated rate, [M, B].

    `fixed_s` [M, B] is the part that does not depend on how much the operators of a step do.
    """

    seconds: Floats
    compute_s: Floats
    fixed_s: Floats
    floor_s: Floats


def kernels(operators: Sequence[Operator], reached: Reached) -> Kernels:
    """Return the time of each operator on every machine and what it waits for."""
    work, rates = KernelWork.of(operators), _rates(operators, reached.machines)
    spent = spend(_curves(operators, reached), work.of_fullest(operators), rates)
    sizes = work.stream_bytes.sum(axis=0) + work.row_bytes.sum(axis=0)
    floor = np.maximum(rates.per_flop.T @ work.flops, sizes / reached.machines.bytes_per_s[:, None])
    waits: NDArray[np.bool_] = spent.arithmetic > spent.stream
    seconds = spent.seconds + spent.fixed
    compute: Floats = np.where(waits, seconds - spent.fixed, 0.0).sum(axis=0)
    return Kernels(seconds, compute, spent.fixed.sum(axis=0), floor)


def kernel_seconds(operators: Sequence[Operator], reached: Reached) -> Floats:
    """Return only the time of each operator on every machine, shape [O, M, B]."""
    work, rates = KernelWork.of(operators).of_fullest(operators), _rates(operators, reached.machines)
    spent = spend(_curves(operators, reached), work, rates)
    return spent.seconds + spent.fixed


def _rates(operators: Sequence[Operator], machines: Machines) -> Rates:
    per_flop = 1 / np.array([_flops_per_s(o, machines) for o in operators])
    plain = np.maximum(1 / machines.flops_per_s["fp32"], per_flop)
    return Rates(per_flop, plain, 1 / machines.bytes_per_s)


def _curves(operators: Sequence[Operator], reached: Reached) -> Floats:
    return np.stack([reached.kept((o.curve, o.kind, o.compute), partial(_curve, o)) for o in operators], axis=1)


def _flops_per_s(operator: Operator, machines: Machines) -> Floats:
    """Return the stated rate, shape [M]; with four-bit arithmetic comes that of four-bit weights by 8-bit rows.

    Where narrow arithmetic is slower than that of 16 bits (int8 on B300) nobody uses it: weights are widened.
    """
    rates = machines.flops_per_s
    stated = rates[operator.compute]
    if operator.compute in NARROW:
        stated = np.maximum(stated, rates["bf16"])
    return np.where(rates["fp4"] > rates["fp8"], rates["fp8"], stated) if operator.microscaled else stated


def spend(curves: Floats, work: KernelWork, rates: Rates) -> Spent:
    """Return the seconds of `work` by `curves` [parameters, O, M] at stated rates."""
    fixed_s, depth_s, unit_s, row_share, hbm_share, flops_share, tile_rows, pad_rows, plain_rows = curves
    per_byte = rates.per_byte
    arithmetic = (rates.per_flop / flops_share)[:, :, None] * work.flops[:, None, :]
    tiled = np.flatnonzero(tile_rows.any(axis=1) | pad_rows.any(axis=1))
    rows, pad = work.rows[tiled, None, :], pad_rows[tiled, :, None]
    arithmetic[tiled] *= np.maximum(1 + pad / (rows + pad), tile_rows[tiled, :, None] / rows)
    aside = np.flatnonzero(plain_rows.any(axis=1))
    each = (rates.per_plain_flop[aside] * plain_rows[aside])[:, :, None]
    arithmetic[aside] += each * (work.flops[aside] / work.rows[aside])[:, None, :]
    stream = (per_byte / hbm_share)[:, :, None] * work.stream_bytes[:, None, :]
    seconds = joined(stream, arithmetic)
    passing = np.flatnonzero(work.row_bytes.any(axis=1))
    seconds[passing] += (per_byte / row_share[passing])[:, :, None] * work.row_bytes[passing, None, :]
    counted = np.flatnonzero(work.units.any(axis=1))
    seconds[counted] += unit_s[counted, :, None] * work.units[counted, None, :]
    fixed = fixed_s[:, :, None] * work.products[:, None, :] + depth_s[:, :, None] * work.depth[:, None, :]
    return Spent(arithmetic, stream, seconds, fixed)


def joined(one: Floats, other: Floats) -> Floats:
    """Return ‖one, other‖₄ = (one⁴ + other⁴)^¼: a little more than the larger, most where both are alike."""
    first, second = one * one, other * other
    first *= first
    second *= second
    first += second
    norm: Floats = np.sqrt(np.sqrt(first, out=first), out=first)
    return norm


def _curve(operator: Operator, reached: Reached) -> Floats:
    """Return the parameters [parameters, M]; chips without narrow arithmetic widen the weights and run 16-bit."""
    curve = reached.curve(operator.curve, KERNEL_PARAMETERS)
    rates = reached.machines.flops_per_s
    if operator.compute in HALVED:
        return _long_sums(curve, rates["fp16-short"] / rates[operator.compute])
    if operator.compute not in NARROW or operator.kind not in PRODUCTS:
        return curve
    native = rates[operator.compute] > rates["bf16"]
    if native.all():
        return curve
    widened = reached.curve(f"{operator.kind}.w4", KERNEL_PARAMETERS)
    return np.where(native, curve, _long_sums(widened, rates["fp16-short"] / rates["bf16"]))


def _long_sums(curve: Floats, halved: Floats) -> Floats:
    """Return the same where sums of 32 bits run at 1/`halved` [M] of the rate that all else keeps up with."""
    if (halved <= 1.0).all():
        return curve
    found = curve.copy()
    found[FLOPS_SHARE] = np.minimum(curve[FLOPS_SHARE] * np.maximum(halved, 1.0), MOST_REACHED)
    return found
