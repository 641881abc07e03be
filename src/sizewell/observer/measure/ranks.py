"""All-reduces between the devices of one machine, each rank its own process."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sizewell.observer.measure.device import Torch, load_torch

_WARM_UPS, _REPEATS = 3, 20
_INSIDE = 10
"""Messages between two looks at the clock."""
_ELEMENT_BYTES = 2


def all_reduces(torch: Torch, ranks: int, sizes_bytes: Sequence[int], backend: str) -> dict[int, list[float]]:
    """Return for each size the seconds of one all-reduce in each of some repeats, over the slowest rank.

    `backend` is `nccl` (which is RCCL on AMD) or `gloo`. Raises RuntimeError when a rank fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = (ranks, tuple(sizes_bytes), backend, folder)
        try:
            torch.multiprocessing.spawn(_rank, args=arguments, nprocs=ranks, join=True)
        except (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException) as error:
            last = str(error).strip().splitlines()[-1:] or ["no reason given"]
            raise RuntimeError(f"a rank failed: {last[0]}") from error
        parts = [json.loads((Path(folder) / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]
    return {
        size: [max(times) for times in zip(*(part[str(size)] for part in parts), strict=True)] for size in sizes_bytes
    }


def _rank(rank: int, ranks: int, sizes_bytes: Sequence[int], backend: str, folder: str) -> None:
    torch = load_torch()
    on_gpu = backend == "nccl"
    if on_gpu:
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    found = {}
    for size in sizes_bytes:
        values = torch.zeros(size // _ELEMENT_BYTES, dtype=torch.bfloat16, device="cuda" if on_gpu else "cpu")
        found[size] = [_timed(torch, values, on_gpu) for _ in range(_WARM_UPS + _REPEATS)][_WARM_UPS:]
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    torch.distributed.destroy_process_group()


def _timed(torch: Torch, values: object, on_gpu: bool) -> float:
    torch.distributed.barrier()
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_INSIDE):
        torch.distributed.all_reduce(values)
    if on_gpu:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / _INSIDE
