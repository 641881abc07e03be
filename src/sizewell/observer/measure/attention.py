"""Attention by the fastest of the kernels PyTorch has for a shape: which one that is differs from chip to chip."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sizewell.observer.measure.bench import Bench

Attend = Callable[[Any, Any, Any], Any]

_FUSED = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
_TRIALS = 3


class FastestAttention:
    """`scaled_dot_product_attention` by the kernel that was fastest at the first call; `name` says which.

    Without fused kernels for a shape, and on devices other than NVIDIA's and AMD's GPUs, PyTorch chooses.
    """

    def __init__(self, bench: Bench, *, causal: bool = False, grouped: bool = False) -> None:
        self.bench = bench
        self.name = ""
        self._how = {"is_causal": causal, "enable_gqa": grouped}
        self._chosen: Attend | None = None

    def __call__(self, query: Any, key: Any, value: Any) -> Any:
        """Return the attention of [sequences, heads, tokens, width] queries, keys and values."""
        if self._chosen is None:
            self._chosen = self._fastest(query, key, value)
        return self._chosen(query, key, value)

    def seconds(self, query: Any, key: Any, value: Any) -> float:
        """Return how long a call takes, to tell between ways to lay out the operands."""
        self(query, key, value)
        return min(self.bench.times_s(lambda: self(query, key, value), _TRIALS, flush=False))

    def _attend(self, *operands: Any) -> Any:
        return self.bench.torch.nn.functional.scaled_dot_product_attention(*operands, **self._how)

    def _fastest(self, query: Any, key: Any, value: Any) -> Attend:
        took: dict[str, float] = {}
        kernels = dict(self._kernels()) if self.bench.device.backend == "cuda" else {}
        for name, kernel in kernels.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a kernel that declines explains itself at length
                    kernel(query, key, value)
                    took[name] = min(self.bench.times_s(partial(kernel, query, key, value), _TRIALS, flush=False))
            except RuntimeError:
                continue
        best = min(took, key=took.__getitem__, default="")
        self.name = f"scaled_dot_product_attention, {best or 'as PyTorch chooses'}"
        return kernels.get(best, self._attend)

    def _kernels(self) -> Iterator[tuple[str, Attend]]:
        module = importlib.import_module("torch.nn.attention")
        for name in _FUSED:
            backend = getattr(module.SDPBackend, name, None)
            if backend is not None:
                yield name.split("_")[0].lower(), partial(self._by, module.sdpa_kernel, backend)

    def _by(self, only: Callable[[Any], Any], backend: Any, *operands: Any) -> Any:
        with only(backend):
            return self._attend(*operands)
