"""What PyTorch's caching allocator really takes for a tensor, and what the device then lacks."""

from __future__ import annotations

from math import ceil

MIB = 2**20
_SMALLEST = 512
_LARGE = 10 * MIB
_SEGMENT_STEP = 2 * MIB


def allocated_bytes(tensor_bytes: float) -> int:
    """Return the bytes held for a tensor of `tensor_bytes`.

    Every block is a multiple of 512 B. From 10 MiB on a segment is requested in steps of 2 MiB and a remainder of
    at most 1 MiB is not split off, so it counts as allocated (c10 CUDACachingAllocator, checked against logs).
    """
    rounded = ceil(tensor_bytes / _SMALLEST) * _SMALLEST
    if rounded < _LARGE:
        return rounded
    segment = ceil(rounded / _SEGMENT_STEP) * _SEGMENT_STEP
    return segment if segment - rounded <= MIB else rounded


def reserved_bytes(tensor_bytes: float) -> int:
    """Return the bytes the device lacks once a tensor of `tensor_bytes` is held: from 10 MiB on its whole segment.

    Engines that print how much free memory went down (SGLang, vLLM on ROCm) see segments, not tensors.
    """
    rounded = ceil(tensor_bytes / _SMALLEST) * _SMALLEST
    return rounded if rounded < _LARGE else ceil(rounded / _SEGMENT_STEP) * _SEGMENT_STEP
