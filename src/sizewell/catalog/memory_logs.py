"""Looks up what a start-up log names — model, accelerator, engine release — and has every figure predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import gpu_in_log
from sizewell.catalog.models import read_model
from sizewell.planner.logged_settings import LoggedSetup
from sizewell.planner.validate_memory import MemoryPrediction, predict_log, unanswered
from sizewell.specs.engine import EngineSpec
from sizewell.specs.errors import SizewellError, UnknownNameError, UnreachableError
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.memory_row import MemoryRow

_FIRST_ENGINE_KEPT = ("0.8", "0.9", "0.10")
"""Releases in which vLLM still ran its first engine on cards before Ampere."""
_AMPERE = 8.0
_FIRST_CHECKPOINTS = {"meta-llama/Meta-Llama-3.1-405B-Instruct-FP8": ("0.5.", ("num_key_value_heads=16",))}
"""Checkpoints whose config changed after release: the releases of that time, and what it said then."""


def predict_memory_rows(rows: Iterable[MemoryRow], *, logged_peak: bool = False) -> tuple[MemoryPrediction, ...]:
    """Return a prediction or a reason for each row, log by log in order of first appearance.

    With `logged_peak` capacities are counted beside the activation peak the log prints: a diagnosis, no prediction.
    """
    return tuple(answer for log in logs(rows) for answer in _answers(log, logged_peak=logged_peak))


def logs(rows: Iterable[MemoryRow]) -> tuple[tuple[MemoryRow, ...], ...]:
    """Return the rows grouped by the start-up they belong to."""
    groups: dict[tuple[object, ...], list[MemoryRow]] = {}
    for row in rows:
        groups.setdefault(row.log, []).append(row)
    return tuple(tuple(group) for group in groups.values())


def logged_setup(rows: Sequence[MemoryRow]) -> LoggedSetup:
    """Return the model, accelerator and engine rules one start-up's rows name; raise SizewellError for unknown ones."""
    gpu = _gpu(rows[0])
    try:
        model = read_model(rows[0].model, assume=_assumed(rows[0]))
    except (UnknownNameError, UnreachableError):
        raise SizewellError(f"the config of {rows[0].model} is not shipped") from None
    note = next((fact for fact in model.assumed if "from the name" in fact), "")
    return LoggedSetup(model=model, gpu=gpu, engine=_engine(rows, gpu), note=note)


def _answers(rows: Sequence[MemoryRow], *, logged_peak: bool) -> tuple[MemoryPrediction, ...]:
    try:
        return predict_log(rows, logged_setup(rows), logged_peak=logged_peak)
    except SizewellError as error:
        return unanswered(rows, str(error))


def _engine(rows: Sequence[MemoryRow], gpu: GpuSpec | None) -> EngineSpec:
    version = max((row.engine_version for row in rows), key=len)
    capability = float(gpu.compute_capability) if gpu and gpu.kind == "gpu" and gpu.compute_capability else _AMPERE
    if rows[0].engine == "vllm" and capability < _AMPERE and version.startswith(_FIRST_ENGINE_KEPT):
        version = f"{version} V0"
    engine = read_engine(rows[0].engine, version)
    block_tokens = next((row.block_tokens for row in rows if row.block_tokens), engine.block_tokens)
    return replace((engine.on(gpu.vendor, gpu.compute_capability) if gpu else engine), block_tokens=block_tokens)


def _assumed(row: MemoryRow) -> tuple[str, ...]:
    versions, then = _FIRST_CHECKPOINTS.get(row.model, ("", ()))
    return then if versions and row.version.startswith(versions) else ()


def _gpu(row: MemoryRow) -> GpuSpec | None:
    """Return the accelerator a row names; a mere size class names none."""
    if not row.gpu or "class" in row.gpu:
        return None
    return gpu_in_log(row.gpu, row.memory_gib)
