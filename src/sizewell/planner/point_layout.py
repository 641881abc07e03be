"""How a measured deployment was cut, and what its table leaves open."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sizewell.planner.measured_point import PointRow
from sizewell.specs.deployment import Formats, Parallelism, PoolRole
from sizewell.specs.model import ModelSpec
from sizewell.specs.weight_format import kept_format

_POOL = re.compile(r"(prefill|decode) tp(\d+) ep(\d+) dpattn=(True|False) workers=(\d+)")
_WEIGHT_FORMATS = {
    "int4": "gptq-int4", "gptq-int8": "int8-g128", "w8a8-int8": "int8", "gguf-f16": "fp16", "int8": "int8-g128",
}  # fmt: skip
_KV_FORMATS = {"f16": "fp16", "": "auto"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLayout:
    """Replicas of one role, all cut the same way."""

    role: PoolRole
    replicas: int
    cut: Parallelism


def formats(row: PointRow, model: ModelSpec) -> Formats:
    """Return the formats of a row in this project's names; `native` where the checkpoint is stored so."""
    name = _WEIGHT_FORMATS.get(row.weight_format, row.weight_format)
    if not name:
        name = "native"
    if name.startswith("mixed"):
        name = "gguf-q3_k_m"
    if name.partition("-")[0] == model.weight_format.partition("-")[0]:
        name = "native"
    kv = _KV_FORMATS.get(row.kv_format, row.kv_format)
    if kv == "auto" and (name == "nvfp4" or (row.engine.endswith("trtllm") and row.weight_format == "fp8")):
        kv = "fp8"  # what NVIDIA's quantized checkpoints ask for
    return Formats(weight=kept_format(model, row.engine, name), kv=kv)


def layouts(row: PointRow, model: ModelSpec) -> tuple[tuple[PoolLayout, ...], ...]:
    """Return the layouts a row may have had: one where it is stated, else every legal one to choose the best of."""
    if row.disaggregated:
        return (tuple(_pools(row.disaggregated)),)
    if row.tp is not None or (row.dp or 1) > 1:
        return ((_aggregated(row, _stated(row, row.tp or 1, model)),),)
    if (row.pp or 1) > 1 or row.engine in {"llama.cpp", "ik-llama.cpp"}:
        return ((_aggregated(row, Parallelism(pp=row.pp or row.num_gpus)),),)
    sizes = [size for size in (1, 2, 4, 8, 16) if row.num_gpus % size == 0 and model.legal_tp(size)]
    ep = (row.ep or 1) > 1
    return tuple((_aggregated(row, Parallelism(tp=size, ep=size if ep else 1)),) for size in sizes)


def _stated(row: PointRow, tp: int, model: ModelSpec) -> Parallelism:
    """Attention data parallelism is written as tp = dp = ranks; independent replicas of dense models as dp."""
    dp, pp = row.dp or 1, row.pp or 1
    if not model.is_moe:
        return Parallelism(tp=tp, pp=pp)
    if row.attention_dp and not (row.engine == "sglang" and row.dp == 1):  # SGLang drops the flag at one way
        dp = max(dp, tp)
    if tp * dp * pp > row.num_gpus:
        tp = max(1, row.num_gpus // (dp * pp))
    return Parallelism(tp=tp, pp=pp, dp=dp, ep=tp * dp if (row.ep or 1) > 1 and tp * dp > 1 else 1)


def _aggregated(row: PointRow, cut: Parallelism) -> PoolLayout:
    return PoolLayout(role="both", replicas=max(1, row.num_gpus // cut.gpus), cut=cut)


def _pools(text: str) -> Iterable[PoolLayout]:
    for role, tp, ep, attention_dp, workers in _POOL.findall(text):
        size = int(tp)
        cut = (
            Parallelism(tp=1, dp=size, ep=size if int(ep) > 1 else 1)
            if attention_dp == "True"
            else Parallelism(tp=size, ep=size if int(ep) > 1 else 1)
        )
        yield PoolLayout(role="prefill" if role == "prefill" else "decode", replicas=int(workers), cut=cut)
