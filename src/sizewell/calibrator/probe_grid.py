"""Which pieces of work are worth timing on a machine: shapes of 8B, 32B, 70B and DeepSeek-R1 models, as many as fit.

Coarse before fine and small before large, so that a session cut short has seen something of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import get_args

from sizewell.specs.hardware import GpuKind
from sizewell.specs.layers import Attention, LatentAttention, MoeMlp
from sizewell.specs.machine_figure import FigureKind, Probe
from sizewell.specs.model import ModelSpec

KINDS: tuple[FigureKind, ...] = get_args(FigureKind)
MIB = 2**20
GIB = 2**30

MATRICES = (
    (28672, 4096), (4096, 14336), (6144, 4096), (4096, 4096),
    (51200, 5120), (5120, 25600), (10240, 5120), (5120, 8192),
    (57344, 8192), (8192, 28672), (10240, 8192), (8192, 8192),
    (7168, 16384), (24576, 1536), (2112, 7168), (4096, 7168), (7168, 2048),
)  # fmt: skip
"""Outputs × inputs: fused gate and up, down, fused qkv and output of 8B, 32B and 70B, then R1's own."""
ROWS = (512, 1, 16, 128, 4096, 4, 64, 1024, 2, 8, 32, 256, 2048, 8192, 16384)
"""Tokens that share one read of the weights; the first tells what the type reaches, the rest go coarse to fine."""
SMALL_ROWS = (1, 16, 128, 4, 64, 512, 1024)
"""For machines on which one large product takes seconds."""
FEWEST_ROWS = (1, 16, 128)
MAIN_TYPES = ("bf16", "fp8")
"""Types measured at every shape; the others at a few, to place their peaks."""

EXPERTS = ((256, 8, 7168, 2048), (128, 8, 2048, 768), (8, 2, 4096, 14336))
"""Experts, experts a token chooses, hidden, intermediate: DeepSeek-R1, Qwen3-30B-A3B, Mixtral-8x7B."""
LAYERED = {"meta-llama/Llama-3.1-8B-Instruct": 4, "Qwen/Qwen3-32B": 2, "deepseek-ai/DeepSeek-R1": 1}
"""Models whose whole layers are run, and how many of them."""

WEIGHT_SHARE, CACHE_SHARE, COPY_SHARE = 0.3, 0.2, 1 / 16
"""Shares of memory one probe's weights, cached context and streamed arrays may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is asked of a machine: its memory, how many devices it has, the types it runs, and how little will do.

    `small` machines are those on which large shapes take too long: processors, and chips of the size of one.
    """

    device: GpuKind
    memory_bytes: float
    devices: int
    dtypes: tuple[str, ...]
    small: bool = False
    quick: bool = False
    kinds: tuple[FigureKind, ...] = KINDS

    @property
    def dtype(self) -> str:
        """The type models run in."""
        return next(name for name in ("bf16", "fp16", "fp32") if name in self.dtypes)


def probes(scope: Scope, models: Mapping[str, ModelSpec]) -> tuple[Probe, ...]:
    """Return the probes of every kind asked for, in the order they should be run."""
    made: dict[FigureKind, Callable[[Scope], Iterator[Probe]]] = {
        "memory": _memory, "gemm": _gemm, "experts": _experts, "attention": _attention,
        "launch": _launch, "copy": _copy, "collective": _collective,
    }  # fmt: skip
    found: list[Probe] = []
    for kind in KINDS:
        if kind in scope.kinds:
            found += _layers(scope, models) if kind == "layers" else made[kind](scope)
    return tuple(found)


def _memory(scope: Scope) -> Iterator[Probe]:
    sizes = (64, 256) if scope.quick else (1, 4, 16, 64, 256, 1024, 4096)
    for size, op in product(sizes, ("copy", "read", "triad")):
        if size * MIB <= scope.memory_bytes * COPY_SHARE:
            yield Probe(kind="memory", op=op, dtype="fp32", shape={"bytes": size * MIB})


def _gemm(scope: Scope) -> Iterator[Probe]:
    rows = FEWEST_ROWS if scope.quick else SMALL_ROWS if scope.small else ROWS
    matrices = MATRICES[: 2 if scope.quick else 4] if scope.small else MATRICES[:: 4 if scope.quick else 1]
    main = (scope.dtype, *(name for name in MAIN_TYPES if name in scope.dtypes and not scope.small))
    others = [name for name in scope.dtypes if name not in main]
    for m in rows:
        for (n, k), dtype in product(matrices, dict.fromkeys(main)):
            yield _product(m, n, k, dtype)
        for (n, k), dtype in product(matrices[3:4] or matrices[1:2], others):
            yield _product(m, n, k, dtype)


def _product(m: int, n: int, k: int, dtype: str) -> Probe:
    return Probe(kind="gemm", op="gemm", dtype=dtype, shape={"m": m, "n": n, "k": k})


def _experts(scope: Scope) -> Iterator[Probe]:
    tokens = (1, 16, 64, 256) if scope.small or scope.quick else (1, 4, 16, 64, 256, 1024, 4096, 16384)
    for experts, top_k, hidden, intermediate in EXPERTS[1:2] if scope.quick else EXPERTS:
        held = _fitting(experts, top_k, 3 * hidden * intermediate * 2, scope)
        for count in tokens if held else ():
            shape = {
                "tokens": count, "experts": held, "top_k": top_k, "hidden": hidden, "intermediate": intermediate,
            }  # fmt: skip
            for dtype in (scope.dtype, *(["fp8"] if "fp8" in scope.dtypes and not scope.small else [])):
                yield Probe(kind="experts", op="grouped-gemm", dtype=dtype, shape=shape)


def _fitting(experts: int, top_k: int, each_bytes: int, scope: Scope) -> int:
    """Return how many experts fit, halving; 0 when fewer than a token chooses. Processors hold 2 GiB at most."""
    room = min(scope.memory_bytes * WEIGHT_SHARE, 2 * GIB if scope.small else float("inf"))
    while experts * each_bytes > room and experts >= top_k:
        experts //= 2
    return experts if experts >= top_k else 0


def _attention(scope: Scope) -> Iterator[Probe]:
    return _in_turn(_prompt_attention(scope), _context_attention(scope))


def _prompt_attention(scope: Scope) -> Iterator[Probe]:
    for prompts, tokens in _prompts(scope):
        for name, shape in _both("prefill", scope):
            yield _attend(name, scope, {"sequences": prompts, "tokens": tokens, **shape})


def _context_attention(scope: Scope) -> Iterator[Probe]:
    for sequences, context in _contexts(scope):
        for name, shape in _both("decode", scope):
            row = shape.get("latent", 2 * shape.get("kv_heads", 0) * shape["head_dim"]) * 4
            if sequences * context * row <= scope.memory_bytes * CACHE_SHARE:
                yield _attend(name, scope, {"sequences": sequences, "context_tokens": context, **shape})


def _in_turn(*lists: Iterator[Probe]) -> Iterator[Probe]:
    """Yield from each list in turn: when time runs out, something of each was measured."""
    return (probe for row in zip_longest(*lists) for probe in row if probe is not None)


def _both(op: str, scope: Scope) -> list[tuple[str, dict[str, int]]]:
    """Return grouped and latent heads: of an 8B and a 70B model, of DeepSeek's whole and an eighth of it."""
    count = 1 if scope.small or scope.quick else 2
    grouped = [{"heads": heads, "kv_heads": 8, "head_dim": 128} for heads in (32, 64)[:count]]
    latent = [{"heads": heads, "latent": 512, "head_dim": 128} for heads in (16, 128)[:count]]
    return [(op, shape) for shape in grouped] + [(f"latent-{op}", shape) for shape in latent]


def _attend(op: str, scope: Scope, shape: dict[str, int]) -> Probe:
    return Probe(kind="attention", op=op, dtype=scope.dtype, shape=shape)


def _prompts(scope: Scope) -> Sequence[tuple[int, int]]:
    if scope.small:
        return ((1, 512),) if scope.quick else ((1, 128), (1, 512), (4, 512), (1, 2048))
    if scope.quick:
        return (1, 512), (1, 4096)
    return (1, 512), (1, 2048), (8, 2048), (1, 8192), (4, 8192), (1, 32768)


def _contexts(scope: Scope) -> Sequence[tuple[int, int]]:
    if scope.small:
        return (
            ((1, 512), (8, 2048)) if scope.quick else ((1, 512), (8, 512), (1, 4096), (8, 2048), (32, 512), (1, 32768))
        )
    if scope.quick:
        return (1, 4096), (64, 4096)
    return tuple(product((1, 8, 32, 128, 512), (512, 2048, 8192, 32768, 131072)))


def _launch(_: Scope) -> Iterator[Probe]:
    for op in ("eager-kernel", "graph-kernel", "graph-replay"):
        yield Probe(kind="launch", op=op, dtype="")


def _copy(scope: Scope) -> Iterator[Probe]:
    if scope.device == "cpu":
        return
    ways = ["host-to-device", "device-to-host", *(["device-to-device"] if scope.devices > 1 else [])]
    sizes = (64,) if scope.quick else (1, 16, 64, 256, 1024)
    for size, way in product(sizes, ways):
        yield Probe(kind="copy", op=way, dtype="", shape={"bytes": size * MIB})


def _collective(scope: Scope) -> Iterator[Probe]:
    ranks = [count for count in (2, 4, 8, 16) if count <= scope.devices]
    sizes = (2**14, MIB, 64 * MIB) if scope.quick else (2**13, 2**15, 2**17, 2**19, 2**21, 2**23, 2**25, 2**27, 2**28)
    for count, size in product(ranks, sizes):
        shape = {"ranks": count, "bytes": size}
        yield Probe(kind="collective", op="all-reduce", dtype="bf16", shape=shape)


def _layers(scope: Scope, models: Mapping[str, ModelSpec]) -> Iterator[Probe]:
    for name, depth in list(LAYERED.items())[: 1 if scope.quick else 3]:
        model = models[name]
        shape = _cut(model, 1 if scope.small else depth, scope)
        if shape is None:
            continue
        yield from _in_turn(_decoding(name, shape, scope, model), _prefilling(name, shape, scope))


def _decoding(name: str, shape: dict[str, int], scope: Scope, model: ModelSpec) -> Iterator[Probe]:
    for sequences, context in _steps(scope):
        if sequences * context * shape["layers"] * _row_bytes(model) <= scope.memory_bytes * CACHE_SHARE:
            size = {"sequences": sequences, "context_tokens": context}
            yield Probe(kind="layers", op="decode", dtype=scope.dtype, shape=shape | size, model=name)


def _prefilling(name: str, shape: dict[str, int], scope: Scope) -> Iterator[Probe]:
    for prompts, tokens in _prompts(scope):
        size = {"sequences": prompts, "tokens": tokens}
        if tokens <= 8192:
            yield Probe(kind="layers", op="prefill", dtype=scope.dtype, shape=shape | size, model=name)


def _cut(model: ModelSpec, depth: int, scope: Scope) -> dict[str, int] | None:
    mlp = model.layers[-1].mlp
    if not isinstance(mlp, MoeMlp):
        fits = model.layers[-1].parameters * 2 <= scope.memory_bytes * WEIGHT_SHARE
        return {"layers": depth} if fits else None
    held = _fitting(mlp.experts, mlp.top_k, 3 * model.hidden * mlp.intermediate * 2, scope)
    return {"layers": depth, "experts": held} if held else None


def _row_bytes(model: ModelSpec) -> int:
    mixer = model.layers[-1].mixer
    if isinstance(mixer, Attention | LatentAttention):
        return mixer.rank_kv_elements_per_token(1) * 4
    return 0


def _steps(scope: Scope) -> Sequence[tuple[int, int]]:
    if scope.small:
        return ((1, 512), (8, 512)) if scope.quick else ((1, 512), (8, 512), (1, 4096), (8, 2048), (32, 512))
    if scope.quick:
        return (1, 1024), (32, 4096)
    return (1, 1024), (8, 1024), (32, 4096), (128, 1024), (1, 16384), (32, 16384), (128, 4096), (256, 1024)
