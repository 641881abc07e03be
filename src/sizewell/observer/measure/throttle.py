"""What makes figures slower than the machine is: throttling, told by nvidia-smi, and work that is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

from sizewell.observer.measure.device import Device

_FIELDS = "clocks.sm,clocks.max.sm,power.draw,power.limit,temperature.gpu,clocks_throttle_reasons.active"
_EVERY_MS = "250"
REASONS = {0x4: "power cap", 0x8: "hardware slowdown", 0x20: "heat", 0x40: "heat", 0x80: "power brake"}
"""Bits of the mask that mean slower than asked for; idling and chosen clocks do not."""


_BUSY_SHARE = 0.5
_HELD_SHARE = 0.05
_GIB = 2**30


def crowding(device: Device, load: float) -> str:
    """Return what else was going on before measuring: `load` runnable processes, memory others hold; empty if nothing.

    A load above half of the threads is other work, and so is more than a twentieth of a GPU's memory.
    """
    if device.backend == "cpu" and load > _BUSY_SHARE * device.cores:
        return f"shared with other work: load {load:.1f} on {device.cores} threads before measuring"
    held = device.memory_bytes - device.free_bytes
    if device.backend == "cuda" and held > _HELD_SHARE * device.memory_bytes:
        return f"shared with other work: {held / _GIB:.1f} GiB of memory were taken before measuring"
    return ""


class ClockWatch:
    """Samples of the first GPU while the `with` block runs; silent where there is no nvidia-smi."""

    def __init__(self, command: str | None = None) -> None:
        self._command = command if command is not None else shutil.which("nvidia-smi")
        self._said: IO[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> ClockWatch:
        if self._command:
            self._said = tempfile.NamedTemporaryFile("r", encoding="utf-8", suffix=".csv")
            query = [self._command, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
            query += ["-i", os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"]
            with open(self._said.name, "a", encoding="utf-8") as sink:
                self._process = subprocess.Popen(
                    [*query, "-lms", _EVERY_MS], stdout=sink, stderr=subprocess.DEVNULL, text=True
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        if self._said is not None:
            self._said.close()

    def remark(self) -> str:
        """Return what slowed the GPU since the last call, empty when nothing did."""
        return throttling(self._said.read().splitlines()) if self._said is not None else ""


def throttling(samples: Sequence[str]) -> str:
    """Return how many samples were throttled, why and down to which clock; empty when none was.

    A sample is nvidia-smi's line of SM clock, its maximum, power, its limit, temperature and the mask of reasons.
    """
    slowed: list[float] = []
    why: dict[str, None] = {}
    count = 0
    for sample in samples:
        cells = [cell.strip() for cell in sample.split(",")]
        try:
            clock, mask = float(cells[0]), int(cells[5], 16)
        except (ValueError, IndexError):
            continue  # a card that does not say, or a line cut short
        count += 1
        found = [reason for bit, reason in REASONS.items() if mask & bit]
        if found:
            slowed.append(clock)
            why.update(dict.fromkeys(found))
    if not slowed:
        return ""
    return f"throttled by {' and '.join(why)} in {len(slowed)} of {count} samples, down to {min(slowed):.0f} MHz"
