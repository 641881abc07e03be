"""How values in base units are printed in the generated documents: one unit per quantity, three digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor, log10


def digits(value: float, significant: int = 3) -> str:
    """Return `value` with so many significant digits and thousands separators, never in scientific notation."""
    if value == 0:
        return "0"
    decimals = max(0, significant - 1 - floor(log10(abs(value))))
    rounded = f"{value:,.{decimals}f}"
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def _scaled(*steps: tuple[float, str]) -> Callable[[float], str]:
    """Return a printer that picks the largest step not above the value."""

    def show(value: float) -> str:
        scale, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
        return f"{digits(value / scale)} {name}"

    return show


def _with(name: str) -> Callable[[float], str]:
    return lambda value: f"{digits(value)} {name}"


UNITS: Mapping[str, Callable[[float], str]] = {
    "bytes": _scaled((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
    "bytes_per_s": _scaled((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s")),
    "bits_per_s": _scaled((1e9, "Gbit/s"), (1e6, "Mbit/s")),
    "flops": _scaled((1e12, "TFLOP"), (1e9, "GFLOP")),
    "flops_per_s": _scaled((1e12, "TFLOP/s"), (1e9, "GFLOP/s")),
    "parameters": _scaled((1e9, "billion"), (1e6, "million")),
    "tokens_per_s": _with("tok/s"),
    "tokens": lambda value: f"{value:,.0f} tokens",
    "sequences": lambda value: f"{value:,.0f} sequences",
    "blocks": lambda value: f"{value:,.0f} blocks",
    "gpus": lambda value: f"{value:,.0f} GPUs",
    "count": lambda value: f"{value:,.0f}",
    "files": lambda value: f"{value:,.0f} files",
    "cores": lambda value: f"{value:,.0f} cores",
    "fraction": lambda value: f"{digits(100 * value)} %",
    "factor": lambda value: f"{digits(value)}×",
    "seconds": _scaled((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "watts": _with("W"),
    "usd": lambda value: f"{digits(value)} USD",
    "usd_per_hour": lambda value: f"{digits(value)} USD/h",
}
"""Unit name as claims write it → how a value of that unit is printed."""


def shown(value: float, unit: str) -> str:
    """Return `value`, which is in the base unit of `unit`, as the documents print it."""
    return UNITS[unit](value)


def shown_range(low: float, high: float, unit: str) -> str:
    """Return one value, or both ends of a range."""
    return shown(low, unit) if low == high else f"{shown(low, unit)} – {shown(high, unit)}"
