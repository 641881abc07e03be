"""A device to time work on: buffers of random numbers, a stopwatch, caches emptied between runs, recorded graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from sizewell.observer.measure.device import Backend, Device, Torch

Tensor = Any
Run = Callable[[], object]

PATTERN_ELEMENTS = 1_000_003
"""A prime, so that rows of a repeated pattern differ."""
_AHEAD_CYCLES = 500_000
"""Cycles the device is kept busy while the host issues what is timed: about a quarter of a millisecond."""
_FLUSHES = 2.0
_MOST_FLUSHED_BYTES = 2**30
_WARM_UPS = 3


class Bench(Protocol):
    """What probes need of a device."""

    torch: Torch
    device: Device
    place: str

    def filled(self, *shape: int, dtype: str = "bf16") -> Tensor:
        """Return a tensor of random numbers."""

    def times_s(self, run: Run, repeats: int, *, flush: bool) -> list[float]:
        """Return the seconds of each of some runs, caches emptied before each where asked."""

    def recorded(self, run: Run) -> Run | None:
        """Return a run as a recorded graph, None where there are no graphs or this work cannot be recorded."""

    def settle(self) -> None:
        """Wait until the device is idle."""

    def release(self) -> None:
        """Give back the memory of dropped tensors."""


def open_bench(torch: Torch, device: Device) -> Bench:
    """Return the bench of a device."""
    benches: dict[Backend, type[_HostBench]] = {"cuda": _CudaBench, "mps": _MpsBench, "cpu": _HostBench}
    return benches[device.backend](torch, device)


class _HostBench:
    """Work is done when the call returns: a processor."""

    place = "cpu"

    def __init__(self, torch: Torch, device: Device) -> None:
        self.torch, self.device = torch, device
        torch.manual_seed(0)
        self._patterns: dict[str, Tensor] = {}
        self._scrap: Tensor = None

    def filled(self, *shape: int, dtype: str = "bf16") -> Tensor:
        if dtype not in self._patterns:
            self._patterns[dtype] = self._pattern(dtype)
        pattern = self._patterns[dtype]
        count = 1
        for size in shape:
            count *= size
        whole = pattern.repeat(-(-count // PATTERN_ELEMENTS))[:count]
        return whole.view(self.type_of(dtype)).view(*shape)

    def type_of(self, dtype: str) -> Any:
        """Return PyTorch's type; FP8 is the flavour without negative zero on the AMD chips that have only that."""
        torch = self.torch
        narrow = torch.float8_e4m3fnuz if (self.device.capability or "").startswith("gfx94") else torch.float8_e4m3fn
        return {
            "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": narrow, "int8": torch.int8,
        }[dtype]  # fmt: skip

    def _pattern(self, dtype: str) -> Tensor:
        # Random, because matrix units draw less power on constant data and clock higher than they ever would.
        torch = self.torch
        if dtype == "int8":
            return torch.randint(-100, 100, (PATTERN_ELEMENTS,), dtype=torch.int8, device=self.place)
        made = (torch.randn(PATTERN_ELEMENTS, device=self.place) * 0.5).to(self.type_of(dtype))
        return made.view(torch.uint8) if dtype == "fp8" else made

    def times_s(self, run: Run, repeats: int, *, flush: bool) -> list[float]:
        found = []
        for _ in range(repeats):
            if flush:
                self._flush()
            self.settle()
            start = time.perf_counter()
            run()
            self.settle()
            found.append(time.perf_counter() - start)
        return found

    def _flush(self) -> None:
        if self._scrap is None:
            size = int(min(self.device.cache_bytes * _FLUSHES, _MOST_FLUSHED_BYTES))
            self._scrap = self.torch.empty(size, dtype=self.torch.int8, device=self.place)
        self._scrap.zero_()

    def recorded(self, run: Run) -> Run | None:
        del run
        return None

    def settle(self) -> None:
        return

    def release(self) -> None:
        return


class _MpsBench(_HostBench):
    """An Apple GPU: timed by the host's clock around work it waits for."""

    place = "mps"

    def settle(self) -> None:
        self.torch.mps.synchronize()

    def release(self) -> None:
        self.torch.mps.empty_cache()


class _CudaBench(_HostBench):
    """An NVIDIA or AMD GPU: timed by its own events, issued while it is busy with something else."""

    place = "cuda"

    def times_s(self, run: Run, repeats: int, *, flush: bool) -> list[float]:
        cuda = self.torch.cuda
        found = []
        for _ in range(repeats):
            begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            if flush:
                self._flush()
            self._keep_busy()
            begin.record()
            run()
            end.record()
            cuda.synchronize()
            found.append(begin.elapsed_time(end) / 1e3)
        return found

    def _keep_busy(self) -> None:
        sleep = getattr(self.torch.cuda, "_sleep", None)
        if sleep is not None:
            sleep(_AHEAD_CYCLES)

    def recorded(self, run: Run) -> Run | None:
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(_WARM_UPS):
                run()
        cuda.current_stream().wait_stream(side)
        graph = cuda.CUDAGraph()
        try:
            with cuda.graph(graph):
                run()
        except RuntimeError:  # some kernels look at results on the host: they cannot be recorded
            cuda.synchronize()
            return None
        replay: Run = graph.replay
        return replay

    def settle(self) -> None:
        self.torch.cuda.synchronize()

    def release(self) -> None:
        self.torch.cuda.empty_cache()
