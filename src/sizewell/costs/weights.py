"""Weights one rank holds, by tensor class, exact to the allocator's rounding.

Rules: what tensor and expert parallelism share out and what they replicate, vocabulary padding, rope tables and the
copies made at load; sources in docs/cost-model.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from sizewell.costs.allocator import allocated_bytes, reserved_bytes
from sizewell.costs.expert_padding import Mxfp4Padding, expert_buffers
from sizewell.costs.lines import LedgerLine
from sizewell.costs.stages import PpRemainder, counted_layers, stage_bounds
from sizewell.specs.deployment import Parallelism
from sizewell.specs.encoding import BF16, MXFP4, Encoding
from sizewell.specs.layers import CompressedAttention, LatentAttention, Layer
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import NATIVE, stored_encoding

VOCABULARY_PADDING = 64
OUTPUT_GROUPS = "self_attn.o_a_proj"
ROCM_RUNTIME_BYTES = 0.15 * 2**30
"""Engines on ROCm print how much free memory went down: 0.12 and 0.17 GiB more than tensors in two logs."""
Absorbed = Literal["none", "products", "copies"]
"""What is kept of latent up-projections: nothing, their products with queries and output, or 16-bit copies."""

OFFLOADED = "weights: offloaded to host"
"""The line that takes from a GPU what lies in host memory instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRules:
    """What an engine does to weights.

    `padding` of the vocabulary, bytes of a latent model's rope element, who gets spare layers, how experts are padded,
    what is kept of absorbed up-projections, whether latent models hold the head on every stage, and whether whole
    segments count (`reserved`). `wide_output_groups` and `expert_scale_copies`: see EngineSpec.
    """

    padding: int = VOCABULARY_PADDING
    pp_remainder: PpRemainder = "spread"
    mtp: bool = False
    absorbed: Absorbed = "copies"
    latent_head_on_all: bool = False
    reserved: bool = False
    rope_tables: bool = True
    embedding_on_host: bool = False
    latent_rope_bytes: int = 4
    mxfp4_padding: Mxfp4Padding = "none"
    rocm: bool = False
    wide_output_groups: bool = False
    expert_scale_copies: bool = False

    @property
    def held(self) -> Callable[[float], int]:
        """How a tensor's bytes are rounded."""
        return reserved_bytes if self.reserved else allocated_bytes


@dataclass(frozen=True, slots=True)
class _Held:
    role: str
    name: str
    bytes: float


class Weights:
    """The weights of one model in one format, under any cut and rules: what cuts have in common is counted once."""

    def __init__(self, model: ModelSpec, weight_format: str) -> None:
        self.model, self.weight_format = model, weight_format
        self._holders: dict[tuple[int, int, int, WeightRules], _Holder] = {}
        self._shards: dict[tuple[int, WeightRules], dict[int, _Held]] = {}
        self._stages: dict[tuple[Parallelism, WeightRules], tuple[tuple[LedgerLine, ...], ...]] = {}

    def stage_lines(self, cut: Parallelism, rules: WeightRules | None = None) -> tuple[tuple[LedgerLine, ...], ...]:
        """Return for each pipeline stage the weight lines of its fullest rank, one line a tensor class.

        Stages that hold alike layers have the same tuple.
        """
        rules = rules or WeightRules()
        if (cut, rules) not in self._stages:
            self._stages[cut, rules] = self._counted(cut, rules)
        return self._stages[cut, rules]

    def _counted(self, cut: Parallelism, rules: WeightRules) -> tuple[tuple[LedgerLine, ...], ...]:
        layers = len(self.model.layers)
        # How layers are shared out over stages changes nothing about the tensors of one.
        shared = (cut.tp, cut.ep, cut.dp, rules)
        if shared not in self._holders:
            # Nor does the number of ranks that share experts change anything about other tensors.
            beside_experts = self._shards.setdefault((cut.tp, rules), {})
            self._holders[shared] = _Holder(self, cut, rules, beside_experts)
        hold = self._holders[shared]
        found: list[tuple[LedgerLine, ...]] = []
        known: dict[object, tuple[LedgerLine, ...]] = {}
        for start, end in stage_bounds(layers, cut.pp, rules.pp_remainder):
            held = counted_layers(self.model, (start, end))
            alike = (start == 0, end == layers, *((id(layer), count) for layer, count in held))
            if alike not in known:
                known[alike] = _lines(_stage(hold, held, first=start == 0, last=end == layers))
            found.append(known[alike])
        return tuple(found)


def rank_weight_bytes(
    model: ModelSpec, weight_format: str, cut: Parallelism, rules: WeightRules | None = None
) -> tuple[float, ...]:
    """Return the weight bytes of the fullest rank of each pipeline stage."""
    return tuple(sum(line.bytes for line in stage) for stage in Weights(model, weight_format).stage_lines(cut, rules))


def rank_tensor_bytes(tensor: Tensor, encoding: Encoding, cut: Parallelism, rules: WeightRules | None = None) -> float:
    """Return what the fullest rank allocates for a tensor: weights, scales, zero points and bias, each rounded."""
    rules = rules or WeightRules()
    tp, matrices, rows = _shard(tensor, cut, rules.padding)
    if not tensor.is_matrix:
        bits = tensor.stored.bits_per_weight if tensor.stored else 16
        return rules.held(matrices * rows * bits / 8)
    columns = tensor.rank_columns(tp)
    if tensor.role == "routed-experts":
        buffers = expert_buffers(tensor, encoding, (matrices, rows, columns), rules.mxfp4_padding, rocm=rules.rocm)
    else:
        buffers = encoding.buffers(rows, columns, matrices)
    bias = rules.held(matrices * rows * 2) if tensor.bias else 0
    # Each fused part keeps its own codebooks and scalars.
    repeated = rules.held(encoding.extra_bytes) * (len(tensor.rows) - 1) * matrices if encoding.extra_bytes else 0
    return sum(rules.held(b) for b in buffers) + bias + repeated


def _shard(tensor: Tensor, cut: Parallelism, padding: int) -> tuple[int, int, int]:
    """Return (ways the axes are cut, matrices held, rows held)."""
    if tensor.role == "routed-experts":
        if cut.ep > 1:
            return 1, ceil(tensor.matrices / cut.ep), tensor.rank_rows(1)
        ways = cut.tp * cut.dp
        return ways, tensor.matrices, tensor.rank_rows(ways)
    if tensor.role in {"embedding", "head"} and any(part.sharded for part in tensor.rows):
        padded = ceil(tensor.rank_rows(1) / padding) * padding
        return cut.tp, tensor.matrices, ceil(padded / cut.tp)
    return cut.tp, tensor.matrices, tensor.rank_rows(cut.tp)


class _Holder:
    """Counts layers and tensors once each, however often they repeat."""

    def __init__(
        self, weights: Weights, cut: Parallelism, rules: WeightRules, beside_experts: dict[int, _Held]
    ) -> None:
        self.model, self.weight_format, self.cut, self.rules = weights.model, weights.weight_format, cut, rules
        self._layers: dict[int, tuple[_Held, ...]] = {}
        self._experts: dict[int, _Held] = {}
        self._beside_experts = beside_experts

    def tensor(self, tensor: Tensor) -> _Held:
        known = self._experts if tensor.role == "routed-experts" else self._beside_experts
        if id(tensor) not in known:
            known[id(tensor)] = self._held(tensor)
        return known[id(tensor)]

    def _held(self, tensor: Tensor) -> _Held:
        encoding = stored_encoding(tensor, self.model, self.weight_format)
        if self.rules.wide_output_groups and tensor.name == OUTPUT_GROUPS:
            encoding = BF16
        size = rank_tensor_bytes(tensor, encoding, self.cut, self.rules) * self._scale(tensor)
        return _Held(tensor.role, f"{tensor.name} {encoding.name}", size)

    def _scale(self, tensor: Tensor) -> float:
        """What the files of the checkpoint hold of a class, over what its configuration comes to."""
        sizes = self.model.exact_sizes if self.weight_format == NATIVE else None
        return sizes.scale(tensor.role) if sizes else 1.0

    def _stale_scales(self, layer: Layer) -> tuple[_Held, ...]:
        """One float32 scale per 32 weights of compressed-attention models' MXFP4 experts, left over from loading."""
        if not self.rules.expert_scale_copies or not isinstance(layer.mixer, CompressedAttention):
            return ()
        held = 0
        for tensor in layer.tensors:
            if tensor.role == "routed-experts" and stored_encoding(tensor, self.model, self.weight_format) == MXFP4:
                ways, matrices, rows = _shard(tensor, self.cut, self.rules.padding)
                held += self.rules.held(matrices * rows * ceil(tensor.rank_columns(ways) / MXFP4.group_columns) * 4)
        return (_Held("routed-experts", "float32 scales left by the loader", held),) if held else ()

    def layer(self, layer: Layer) -> tuple[_Held, ...]:
        found = self._layers.get(id(layer))
        if found is None:
            found = (
                *(self.tensor(t) for t in layer.tensors), *self._absorbed(layer), *self._stale_scales(layer)
            )  # fmt: skip
            self._layers[id(layer)] = found
        return found

    def _absorbed(self, layer: Layer) -> tuple[_Held, ...]:
        """What the engine computes from latent up-projections at load and keeps beside them."""
        mixer = layer.mixer
        kept = self.rules.absorbed
        kv_b = next((t for t in layer.tensors if "kv_b" in t.name), None)
        if kept == "none" or kv_b is None or not isinstance(mixer, LatentAttention):
            return ()
        bits = stored_encoding(kv_b, self.model, self.weight_format).bits_per_weight
        heads, held = mixer.heads // self.cut.tp, []
        if bits < 16:
            copies = (heads * width * mixer.kv_lora_rank * 2 for width in (mixer.qk_nope_head_dim, mixer.v_head_dim))
            held.append(_Held("attention", "absorbed kv_b copies bf16", sum(map(self.rules.held, copies))))
        if kept == "products":
            held.append(_Held("attention", "absorbed products", self._products(mixer, heads, bits)))
        return tuple(held)

    def _products(self, mixer: LatentAttention, heads: int, bits: float) -> float:
        """Up-projections multiplied into queries and output, in the width of the weights; rotary queries in 16 bits."""
        queries, latent = mixer.q_lora_rank or self.model.hidden, heads * mixer.kv_lora_rank
        width = 1 if bits == 8 else 2
        products = (queries * latent * width, latent * self.model.hidden * width)
        return sum(map(self.rules.held, (*products, queries * heads * mixer.qk_rope_head_dim * 2)))


def _stage(
    hold: _Holder, layers: Iterable[tuple[Layer, int]], *, first: bool, last: bool
) -> dict[tuple[str, str], list[float]]:
    """Return bytes and count by (role, tensor) of one stage."""
    held: dict[tuple[str, str], list[float]] = {}

    def add(items: Iterable[_Held], count: int = 1) -> None:
        for item in items:
            entry = held.setdefault((item.role, item.name), [0.0, 0])
            entry[0] += item.bytes * count
            entry[1] += count

    rules, model = hold.rules, hold.model
    for layer, count in layers:
        add(hold.layer(layer), count)
    if (first and not (rules.embedding_on_host and not model.tied)) or (last and model.tied):
        add([hold.tensor(model.embedding)])
    if first:
        add(hold.tensor(t) for t in (*model.vision, *model.extra))
    if model.head and (last or (rules.latent_head_on_all and model.is_latent)):
        add([hold.tensor(model.head)])
    if last:
        add(hold.tensor(t) for t in model.final_norm)
        if rules.mtp:
            add(_draft(model, hold))
    if rules.rope_tables:
        add(_rope_tables(model, rules))
    if rules.rocm:
        add([_Held("runtime", "what the ROCm runtime loads", ROCM_RUNTIME_BYTES)])
    return held


def _draft(model: ModelSpec, hold: _Holder) -> Iterable[_Held]:
    """The multi-token-prediction layers; the target's embedding and head are shared, not loaded twice."""
    for layer in model.mtp_layers:
        for item in hold.layer(layer):
            if item.role not in {"embedding", "head"}:
                yield _Held("mtp", f"mtp {item.name}", item.bytes)


def _rope_tables(model: ModelSpec, rules: WeightRules) -> Iterable[_Held]:
    width = rules.latent_rope_bytes if model.is_latent else 2
    for positions, rotary in model.rope_tables:
        yield _Held("rope-table", f"{positions:,} × {rotary} × {width} B", rules.held(positions * rotary * width))


def _lines(held: dict[tuple[str, str], list[float]]) -> tuple[LedgerLine, ...]:
    by_role: dict[str, list[tuple[str, float]]] = {}
    for (role, name), (size, count) in held.items():
        by_role.setdefault(role, []).append((f"{count:.0f} × {name}", size))
    return tuple(
        LedgerLine(name=f"weights: {role}", bytes=sum(size for _, size in terms), inputs=tuple(terms))
        for role, terms in by_role.items()
    )


def offloaded(lines: tuple[LedgerLine, ...], host_bytes: float) -> tuple[LedgerLine, ...]:
    """Return the lines with layer weights moved to host memory until `host_bytes` are met; vocabulary stays."""
    if not host_bytes:
        return lines
    stays = {"weights: embedding", "weights: head", "weights: rope-table"}
    movable = sum(line.bytes for line in lines if line.name not in stays)
    moved = LedgerLine(
        name=OFFLOADED,
        bytes=-min(host_bytes, movable),
        formula="−min({asked}, {movable}) B",
        inputs=(("asked", host_bytes), ("movable", movable)),
    )
    return (*lines, moved)
