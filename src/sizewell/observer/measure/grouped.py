"""Products of many experts at once: PyTorch's grouped product where it has one, else one product after the other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from sizewell.observer.measure.bench import Bench

Product = Callable[[Any, Any], Any]


def grouped_rows(bench: Bench, tokens: int, experts: int, top_k: int) -> Any:
    """Return how many rows each expert gets when every token chooses `top_k` of them evenly, shape [experts]."""
    torch = bench.torch
    dice = torch.Generator().manual_seed(tokens * experts + top_k)
    chosen = torch.rand(tokens, experts, generator=dice).topk(top_k, dim=-1).indices.flatten()
    return torch.bincount(chosen, minlength=experts)


def grouped_product(bench: Bench, counts: Any) -> tuple[Product, str]:
    """Return a product of rows sorted by expert with stacked [experts, outputs, inputs] weights, and its name."""
    torch = bench.torch
    known = getattr(torch.nn.functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
    if known is not None and _runs(bench, known):
        ends = counts.cumsum(0).to(dtype=torch.int32, device=bench.place)

        def grouped(rows: Any, weights: Any) -> Any:
            return known(rows, weights.transpose(1, 2), offs=ends)

        return grouped, "grouped_mm"
    borders = [0, *counts.cumsum(0).tolist()]

    def one_by_one(rows: Any, weights: Any) -> Any:
        parts = [
            rows[start:end] @ weights[expert].t()
            for expert, (start, end) in enumerate(pairwise(borders))
            if end > start
        ]
        return torch.cat(parts)

    return one_by_one, "loop of mm"


def _runs(bench: Bench, known: Callable[..., Any]) -> bool:
    """Return whether this device has the kernel: PyTorch offers the function on all of them."""
    rows, weights = bench.filled(16, 64), bench.filled(2, 64, 64)
    ends = bench.torch.tensor([8, 16], dtype=bench.torch.int32, device=bench.place)
    try:
        known(rows, weights.transpose(1, 2), offs=ends)
        bench.settle()
    except RuntimeError:
        return False
    return True
