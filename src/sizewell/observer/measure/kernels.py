"""Probes of single kernels, made of PyTorch's own operators: streams, products, attention, launches, copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sizewell.observer.measure.attention_probes import prepare_attention
from sizewell.observer.measure.bench import Bench
from sizewell.observer.measure.grouped import grouped_product, grouped_rows
from sizewell.observer.measure.prepared import Prepared
from sizewell.specs.machine_figure import Probe

_NARROW_GROUPS = ("9.0", "gfx942")
_GROUP_ROWS = 16
"""Rows of an expert are filled up to a multiple of these, as the kernel wants its groups."""
_LAUNCHES = 500
_SLIVER = 64
"""Elements of a tensor that takes no time."""


def prepare_kernel(bench: Bench, probe: Probe) -> Prepared:
    """Return a probe of one kernel ready to run; RuntimeError where the device cannot do it or lacks the memory."""
    return _MADE[probe.kind](bench, probe)


def _memory(bench: Bench, probe: Probe) -> Prepared:
    torch = bench.torch
    count = probe.shape["bytes"] // 4
    first = bench.filled(count, dtype="fp32")
    if probe.op == "read":
        return Prepared(run=lambda: torch.sum(first), kernel="sum")
    second = torch.empty_like(first)
    if probe.op == "copy":
        return Prepared(run=lambda: second.copy_(first), kernel="copy_")
    third = bench.filled(count, dtype="fp32")
    return Prepared(run=lambda: torch.add(first, third, alpha=2.0, out=second), kernel="add")


def _gemm(bench: Bench, probe: Probe) -> Prepared:
    torch = bench.torch
    m, n, k = (probe.shape[name] for name in ("m", "n", "k"))
    rows, weight = bench.filled(m, k, dtype=probe.dtype), bench.filled(n, k, dtype=probe.dtype).t()
    if probe.dtype == "fp8":
        one, fast = torch.ones((), device=rows.device), bench.device.vendor == "nvidia"
        return Prepared(
            run=lambda: torch._scaled_mm(
                rows, weight, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=fast
            ),
            kernel="_scaled_mm, scale per tensor",
        )
    if probe.dtype == "int8":
        return Prepared(run=lambda: torch._int_mm(rows, weight), kernel="_int_mm")
    return Prepared(run=lambda: torch.mm(rows, weight), kernel="mm")


def _experts(bench: Bench, probe: Probe) -> Prepared:
    """Both products of the routed experts, rows sorted by expert as after routing; experts drawn evenly."""
    if probe.dtype == "fp8":
        return _narrow_experts(bench, probe)
    torch, shape = bench.torch, probe.shape
    experts, hidden, inner = shape["experts"], shape["hidden"], shape["intermediate"]
    counts = grouped_rows(bench, shape["tokens"], experts, shape["top_k"])
    rows = bench.filled(shape["tokens"] * shape["top_k"], hidden, dtype=probe.dtype)
    up = bench.filled(experts, 2 * inner, hidden, dtype=probe.dtype)
    down = bench.filled(experts, hidden, inner, dtype=probe.dtype)
    product, kernel = grouped_product(bench, counts)

    def run() -> object:
        gate, value = product(rows, up).chunk(2, dim=-1)
        return product(torch.nn.functional.silu(gate) * value, down)

    return Prepared(run=run, kernel=kernel)


def _narrow_experts(bench: Bench, probe: Probe) -> Prepared:
    """The same in FP8 with a scale for each row and each output; activations between the products are cast.

    Only where PyTorch's kernel is known to work: elsewhere it has ended processes instead of raising.
    """
    torch, shape = bench.torch, probe.shape
    if bench.device.capability not in _NARROW_GROUPS:
        raise RuntimeError("no grouped FP8 product of PyTorch's is trusted on this chip")
    experts, hidden, inner = shape["experts"], shape["hidden"], shape["intermediate"]
    counts = -(-grouped_rows(bench, shape["tokens"], experts, shape["top_k"]) // _GROUP_ROWS) * _GROUP_ROWS
    ends = counts.cumsum(0).to(dtype=torch.int32, device=bench.place)
    rows = bench.filled(int(counts.sum()), hidden, dtype="fp8")
    up = bench.filled(experts, 2 * inner, hidden, dtype="fp8")
    down = bench.filled(experts, hidden, inner, dtype="fp8")
    per_row = torch.ones(rows.shape[0], device=bench.place)
    per_output = {width: torch.ones(experts, width, device=bench.place) for width in (2 * inner, hidden)}

    def product(left: Any, weights: Any) -> Any:
        scale = per_output[weights.shape[1]]
        return torch._scaled_grouped_mm(
            left, weights.transpose(1, 2), per_row, scale, offs=ends, out_dtype=torch.bfloat16
        )

    def run() -> object:
        gate, value = product(rows, up).chunk(2, dim=-1)
        return product((torch.nn.functional.silu(gate) * value).to(rows.dtype), down)

    return Prepared(run=run, kernel=f"_scaled_grouped_mm, scale per row, groups of {_GROUP_ROWS} rows")


def _launch(bench: Bench, probe: Probe) -> Prepared:
    sliver = bench.filled(_SLIVER, dtype="fp32")

    def many() -> None:
        for _ in range(_LAUNCHES):
            sliver.add_(1.0)

    if probe.op == "eager-kernel":
        return Prepared(run=many, kernel="add_, eager", times=_LAUNCHES, cold=False, on_host=True)
    if bench.device.backend != "cuda":
        raise RuntimeError("this device has no recorded graphs")
    if probe.op == "graph-kernel":
        return Prepared(run=many, kernel="add_, recorded", times=_LAUNCHES, cold=False, recorded=True)
    return Prepared(
        run=lambda: sliver.add_(1.0), kernel="graph of one add_", cold=False, recorded=True, on_host=True
    )  # fmt: skip


def _copy(bench: Bench, probe: Probe) -> Prepared:
    torch, size = bench.torch, probe.shape["bytes"]
    near = bench.filled(size, dtype="int8")
    if probe.op == "device-to-device":
        peer = torch.empty(size, dtype=torch.int8, device="cuda:1")
        return Prepared(run=lambda: peer.copy_(near, non_blocking=True), kernel="copy_ to the second device")
    pinned = bench.device.backend == "cuda"
    host = torch.empty(size, dtype=torch.int8, pin_memory=pinned)
    said = "copy_, pinned" if pinned else "copy_"
    if probe.op == "host-to-device":
        return Prepared(run=lambda: near.copy_(host, non_blocking=True), kernel=said, cold=False)
    return Prepared(run=lambda: host.copy_(near, non_blocking=True), kernel=said, cold=False)


_MADE: Mapping[str, Callable[[Bench, Probe], Prepared]] = {
    "memory": _memory,
    "gemm": _gemm,
    "experts": _experts,
    "attention": prepare_attention,
    "launch": _launch,
    "copy": _copy,
}
