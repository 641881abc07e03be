"""A probe as operators of the cost model: the work it does, counted by the one place that counts work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from sizewell.calibrator.cut_model import cut_model
from sizewell.costs.attention_work import CacheWidth, context_operators
from sizewell.costs.batch import Batch, Floats
from sizewell.costs.held_matrices import HeldMatrices
from sizewell.costs.matrix_work import Site, grouped, product, rank_matrix
from sizewell.costs.mlp_work import MlpWork
from sizewell.costs.operators import step_operators
from sizewell.costs.work import Collective, Operator, OperatorKind, total_work
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.encoding import BF16, FP8_TENSOR, FP16, FP32, INT8_CHANNEL, ComputeType, Encoding
from sizewell.specs.errors import BadInputError
from sizewell.specs.layers import Attention, LatentAttention, Layer, MoeMlp
from sizewell.specs.machine_figure import Probe
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import column_parallel, replicated, row_parallel, split

ELEMENT_BYTES: Mapping[str, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
STREAMS = {"read": 1, "copy": 2, "triad": 3}
"""Arrays that cross memory: read one; read one, write one; read two, write one."""
ROPE_ELEMENTS = 64
AROUND = frozenset({"head", "sampler"})
"""Parts of a step that are not layers."""

_ENCODINGS: Mapping[str, Encoding] = {
    "fp32": FP32, "fp16": FP16, "bf16": BF16, "fp8": FP8_TENSOR, "int8": INT8_CHANNEL,
}  # fmt: skip

Models = Mapping[str, ModelSpec]


@dataclass(frozen=True, slots=True)
class ProbeWork:
    """The operators of a probe and the bytes it moves over the host link; without either nothing is predicted."""

    operators: tuple[Operator, ...]
    host_link_bytes: float = 0.0

    @property
    def flops(self) -> float:
        """Operations of one run."""
        return float(total_work(self.operators).total_flops[0]) if self.operators else 0.0

    @property
    def bytes(self) -> float:
        """Bytes one run moves: through memory, or over the link that it measures."""
        if self.host_link_bytes or not self.operators:
            return self.host_link_bytes
        work = total_work(self.operators)
        return float(work.hbm_bytes[0]) or sum(float(c.bytes[0]) for o in self.operators for c in o.collectives)


def probe_work(probe: Probe, models: Models) -> ProbeWork:
    """Return what a probe asks of a machine; raises BadInputError for one that is not in docs/measure.md."""
    try:
        if probe.kind == "layers":
            return ProbeWork(_layers(probe, models))
        if probe.kind == "copy" and probe.op != "device-to-device":
            return ProbeWork((_nothing(),), float(probe.shape["bytes"]))
        return ProbeWork(_WORK[probe.kind, probe.op](probe))
    except KeyError as error:
        raise BadInputError(f"figure {probe}: {error} is missing or unknown; docs/measure.md lists them") from error


def _memory(probe: Probe) -> tuple[Operator, ...]:
    elements = probe.shape["bytes"] / ELEMENT_BYTES["fp32"]
    size = float(probe.shape["bytes"] * STREAMS[probe.op])
    flops = {"read": elements, "copy": 0.0, "triad": 2 * elements}[probe.op]
    return (_operator("elementwise", "fp32", flops, size, elements),)


def _gemm(probe: Probe) -> tuple[Operator, ...]:
    """The product alone: quantising its rows is a kernel of its own."""
    m, n, k = (probe.shape[name] for name in ("m", "n", "k"))
    matrix = rank_matrix(replicated("probe", "mlp", k, n), _ENCODINGS[probe.dtype], 1)
    return tuple(replace(each, launches=1) for each in product(Site("probe", "probe", 1.0), grouped([matrix]), _row(m)))


def _experts(probe: Probe) -> tuple[Operator, ...]:
    """Both products of the routed experts of one layer, as a step prices them."""
    shape = probe.shape
    experts, hidden, inner = shape["experts"], shape["hidden"], shape["intermediate"]
    tensors = (
        column_parallel("w13", "routed-experts", hidden, split(inner), split(inner), matrices=experts),
        row_parallel("w2", "routed-experts", split(inner), hidden, matrices=experts),
    )
    mlp = MoeMlp(experts=experts, top_k=shape["top_k"], intermediate=inner)
    layer = Layer(mixer=None, mlp=mlp, tensors=tensors)
    model = ModelSpec(
        name="experts", architecture="experts", hidden=hidden, vocabulary=1, max_context_tokens=1, layers=(layer,),
        embedding=tensors[0], head=None, final_norm=(),
    )  # fmt: skip
    tokens = _row(shape["tokens"])
    held = HeldMatrices(model, probe.dtype)
    work = MlpWork(held=held, cut=Parallelism(), local=tokens, everywhere=tokens, summed=())
    return work.operators(layer, 1.0)


def _attention(probe: Probe) -> tuple[Operator, ...]:
    shape = probe.shape
    mixer = Attention(
        heads=shape["heads"], kv_heads=shape["kv_heads"], head_dim=shape["head_dim"], v_head_dim=shape["head_dim"]
    )
    row = 2 * shape["kv_heads"] * shape["head_dim"] * ELEMENT_BYTES[probe.dtype]
    width = CacheWidth(tp=1, row_bytes=float(row), state_element_bytes=2.0, compute=_compute(probe))
    return context_operators(mixer, 1.0, _batch(probe), width)


def _latent(probe: Probe) -> tuple[Operator, ...]:
    shape = probe.shape
    mixer = LatentAttention(
        heads=shape["heads"], q_lora_rank=None, kv_lora_rank=shape["latent"], qk_nope_head_dim=shape["head_dim"],
        qk_rope_head_dim=ROPE_ELEMENTS, v_head_dim=shape["head_dim"],
    )  # fmt: skip
    row = mixer.latent_elements * ELEMENT_BYTES[probe.dtype]
    width = CacheWidth(tp=1, row_bytes=float(row), state_element_bytes=2.0, compute=_compute(probe))
    return context_operators(mixer, 1.0, _batch(probe), width)


def _batch(probe: Probe) -> Batch:
    """Decode reads `context_tokens` of each sequence; prefill computes `tokens` of each from nothing."""
    sequences = probe.shape["sequences"]
    if "context_tokens" in probe.shape:
        return Batch.decode(sequences, probe.shape["context_tokens"])
    return Batch.prefill(sequences * probe.shape["tokens"], 0.0, sequences)


def _layers(probe: Probe, models: Models) -> tuple[Operator, ...]:
    model = cut_model(models[probe.model], probe.shape["layers"], probe.shape.get("experts", 0))
    step = step_operators(model, Formats(weight=probe.dtype), Parallelism(), _batch(probe))
    return tuple(operator for operator in step if operator.part not in AROUND)


def _launch(probe: Probe) -> tuple[Operator, ...]:
    """A kernel in a recorded graph costs the gap between kernels; what the host takes alone is not a step's."""
    return (_operator("elementwise", "fp32", 0.0, 0.0, 1.0),) if probe.op == "graph-kernel" else ()


def _peer_copy(probe: Probe) -> tuple[Operator, ...]:
    return (_nothing(Collective(kind="send", ranks=2, bytes=_row(probe.shape["bytes"]))),)


def _all_reduce(probe: Probe) -> tuple[Operator, ...]:
    return (_nothing(Collective(kind="all-reduce", ranks=probe.shape["ranks"], bytes=_row(probe.shape["bytes"]))),)


_WORK: Mapping[tuple[str, str], Callable[[Probe], tuple[Operator, ...]]] = {
    **{("memory", op): _memory for op in STREAMS},
    ("gemm", "gemm"): _gemm,
    ("experts", "grouped-gemm"): _experts,
    ("attention", "prefill"): _attention,
    ("attention", "decode"): _attention,
    ("attention", "latent-prefill"): _latent,
    ("attention", "latent-decode"): _latent,
    ("launch", "eager-kernel"): _launch,
    ("launch", "graph-kernel"): _launch,
    ("launch", "graph-replay"): _launch,
    ("copy", "device-to-device"): _peer_copy,
    ("collective", "all-reduce"): _all_reduce,
}


def _operator(kind: OperatorKind, compute: ComputeType, flops: float, hbm_bytes: float, rows: float) -> Operator:
    return Operator(
        name="probe", part="probe", kind=kind, compute=compute, repeats=1.0,
        flops=_row(flops), hbm_bytes=_row(hbm_bytes), rows=_row(rows),
    )  # fmt: skip


def _nothing(*collectives: Collective) -> Operator:
    return Operator(
        name="probe", part="probe", kind="elementwise", compute="fp32", repeats=1.0,
        flops=_row(0.0), hbm_bytes=_row(0.0), rows=_row(0.0), launches=0, collectives=collectives,
    )  # fmt: skip


def _row(value: float) -> Floats:
    return np.array([float(value)])


def _compute(probe: Probe) -> ComputeType:
    if probe.dtype not in ELEMENT_BYTES:
        raise KeyError(probe.dtype)
    return cast(ComputeType, probe.dtype)
