"""One figure from an engine's start-up log, with the settings the log or its thread states."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizewell.specs.deployment import Parallelism

_OFFLOAD = re.compile(r"cpu_offload_gb=(\d+)")
_FREE = re.compile(r"([\d.]+) GB free before load")
_LEFT = re.compile(r"avail ([\d.]+)(?: GB)? after load")
_BLOCK = re.compile(r"block_size (\d+)")
_CAPTURE = re.compile(r"capture sizes (?:up )?to (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """A logged figure; None or an empty text means that the log does not state the setting.

    `memory_gib` is the accelerator's total as the log prints it, `value` is in the unit `metric` names.
    """

    point_id: str
    thread: str
    engine: str
    version: str
    model: str
    weight_format: str
    kv_format: str
    gpu: str
    memory_gib: float | None
    cut: Parallelism
    memory_fraction: float | None
    max_model_len_tokens: int | None
    max_num_batched_tokens: int | None
    max_num_seqs: int | None
    enforce_eager: bool
    metric: str
    value: float
    notes: str

    @property
    def engine_version(self) -> str:
        """The version text, with vLLM's first engine marked where the notes name it."""
        first = self.engine == "vllm" and re.search(r"\bV0\b", self.notes)
        return f"{self.version} V0".strip() if first and "V0" not in self.version else self.version

    @property
    def rounding(self) -> float:
        """Half of the last digit logs print of this figure: two decimals of GiB and of concurrency, whole blocks."""
        if "_gib" in self.metric or self.metric == "max_concurrency_x":
            decimals = len(repr(float(self.value)).partition(".")[2])
            return 0.5 * 10.0 ** -max(2, decimals)
        return 0.5

    @property
    def offload_bytes(self) -> float:
        """Parameters moved to host memory, as the notes state."""
        found = _OFFLOAD.search(self.notes)
        return float(found.group(1)) * 2**30 if found else 0.0

    @property
    def free_bytes(self) -> float | None:
        """Memory free before the weights were loaded, where the log prints it."""
        found = _FREE.search(self.gpu)
        return float(found.group(1)) * 2**30 if found else None

    @property
    def left_bytes(self) -> float | None:
        """Memory free after the weights were loaded, where the notes state it."""
        found = _LEFT.search(self.notes)
        return float(found.group(1)) * 2**30 if found else None

    @property
    def block_tokens(self) -> int | None:
        """The cache block size, where the notes state it."""
        found = _BLOCK.search(self.notes)
        return int(found.group(1)) if found else None

    @property
    def sequences(self) -> int | None:
        """The sequence limit: stated, or the largest captured batch, which vLLM's first engine derives from it."""
        captured = _CAPTURE.search(self.notes)
        return self.max_num_seqs or (int(captured.group(1)) if captured else None)

    @property
    def log(self) -> tuple[object, ...]:
        """What identifies the start-up the figure belongs to: everything but the figure."""
        return (
            self.thread, self.engine, self.version, self.model, self.weight_format, self.kv_format, self.gpu, self.cut,
            self.memory_fraction, self.max_model_len_tokens,
        )  # fmt: skip
