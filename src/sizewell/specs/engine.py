"""What an engine of one version does with memory and steps: the rules a ledger needs, resolved for that version.

Sources and derivation: docs/cost-model.md; the numbers per version are data under catalog/data/engines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

AMPERE, HOPPER = 8, 9
"""Major compute capabilities of the generations."""
AMX = "amx"
"""Capability of processors that multiply tiles of 16-bit numbers."""
OWN_KERNELS = frozenset({"apple", "cpu"})
"""Makers for whose processors llama.cpp never called a library's products: packed weights are unpacked on the way."""
EngineName = Literal["vllm", "sglang", "llama.cpp"]

GENERATIONS: Mapping[str, tuple[tuple[tuple[int, int], str, str], ...]] = {
    "vllm": (((0, 0), "", "v0"), ((0, 8), "2025-03", "v1"), ((0, 12), "2025-12", "async")),
    "sglang": (((0, 0), "", "plain"), ((0, 4), "2024-12", "overlapped"), ((0, 5), "2025-09", "recorded")),
    "trtllm": (((0, 0), "", "c++"), ((1, 0), "2025-09", "pytorch")),
}
"""Where the loop around a step changed, by first release and its month: vLLM's second engine, then scheduling beside
the step; SGLang's overlapped scheduler, then prefill recorded in pieces; TensorRT-LLM's C++ batch manager, then
PyTorch."""

SHARED_ASIDE_ROWS = {"engine:sglang-recorded": 1024, "engine:trtllm-pytorch": 1024}
"""Rows of a recorded step up to which a generation computes shared experts on a stream of their own, beside routed
ones. vLLM has such a stream as well; measured steps of its releases do not show it."""

HOST_TAG = "weights:on-host"
"""Tag of deployments whose hosts compute with some of the weights."""

EAGER_TAG = "steps:eager"
"""Tag of deployments whose hosts issue every kernel."""

SPLIT_TAG = "pools:split"
"""Tag of deployments whose prompts have a pool of their own."""

NARROW_ROWS_TAG = "rows:8"
"""Tag of deployments told to multiply experts of four bits by 8-bit rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDefaults:
    """Defaults for accelerators with at least `memory_bytes_from` of total memory."""

    memory_bytes_from: float
    max_num_batched_tokens: int
    max_num_seqs: int
    excluded_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuRules:
    """What an engine does on a processor: no graphs, no context, larger blocks, and memory of its process besides.

    `latent_block_tokens` holds where matrices are multiplied without AMX tiles; with them latents are cached in blocks
    of `block_tokens` like everything else. Recurrent states are kept in `state_element_bytes`, whatever the model says.
    """

    block_tokens: int
    latent_block_tokens: int
    state_element_bytes: int
    process_bytes: float
    max_num_batched_tokens: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPrompts:
    """How an engine without fused kernels computes prompts.

    Scores of attention take `score_bytes` each in memory (0: it is fused); packed weights that meet
    `widened_from_tokens` rows or more are first widened to 16 bits (0: never); `short_sums` of 16-bit products have 16
    bits. The host waits when it is `queued_launches` kernels ahead of a card, when `steps_under_way` steps are in a
    pipeline, and, where `experts_wait`, in every layer to learn which experts were chosen.
    """

    score_bytes: float
    widened_from_tokens: int
    short_sums: bool
    queued_launches: int
    steps_under_way: int
    experts_wait: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine version's memory rules.

    `memory_fraction` is its default share of total memory. `profile` says what the profile run counts:
    `v0` (whole prompt when not chunked), `v1`. `sampler_copies` × rows × vocabulary × 4 B is the sampler's peak.
    `graphs_in_budget`: the engine deducts a CUDA-graph estimate before sizing the cache.
    `context_in_baseline`: CUDA context and NCCL buffers exist before the snapshot and lie outside the budget.
    `non_torch_bytes_*` is what it sees beside PyTorch: on one rank, and on each of several `_tp` + ranks × `_per_rank`
    (`_tp_plain` where accelerators cannot reduce over multicast; zero: the same).
    `hidden_copies` × tokens × hidden × 2 B lie beside the sampler, `forward_copies` beside the widest layer;
    `encoder_copies` of one budget of encoder outputs (one for each image where it `widens_encoder_outputs`) and
    `sampler_buffer_rows` rows of logits lie beside the sampler, and expert workspaces where it `keeps_expert_buffers`;
    `sort_free_copies` replaces `sampler_copies` where FlashInfer is installed (zero: never).
    `marlin_copies_inputs`: products with grouped integer weights take a buffer as large as their input.
    `sampler_rows` says what logits are kept for. `grouped_fp8_experts`: block-quantised experts run as one grouped
    product with its own buffers. Sparse attention over an fp8 latent cache gathers `sparse_gather_contexts` × the
    longest context as 16-bit rows into a buffer that counts as loaded weight.
    Graphs take `graph_bytes` + layers × `graph_bytes_per_layer` (`_moe_layer` for mixtures of experts) when all batch
    sizes up to `capture_limit` are captured; the largest is `capture_factor` × the sequence limit. `absorbed` says what
    is kept of latent up-projections, `latent_head_on_all` that latent models hold the head on every pipeline stage.
    `wide_output_groups`: the grouped output projection of compressed attention is served in 16 bits;
    `expert_scale_copies`: the loader's float32 scales of MXFP4 experts stay beside the repacked ones; both on Hopper
    and older. `offload` says whether weights in host memory come to the accelerator at every step or are computed with
    where they lie, except in steps of `copied_from_tokens` or more. `printed_tokens` says what its "KV cache size: N
    tokens" means. Prefixes of recurrent models are cached where that is asked for, unasked where `recurrent_prefixes`:
    each request holds `cached_states` more blocks of state, of Mamba2 one more where `mamba2_checkpoints`; a state is
    kept in `state_element_bytes` (None: as the model says), what convolutions before it keep in `conv_element_bytes`.
    `latent_block_tokens` is the block of latent caches. `cpu` is what changes on a processor (None: it does not run
    there), `plain_prompts` what kernels that are not fused make of prompts, `note` how the version was resolved.
    """

    name: EngineName
    version: str
    era: str
    memory_fraction: float
    profile: Literal["v0", "v1", "sglang", "llama.cpp"]
    block_tokens: int
    sampler_copies: float
    graphs_in_budget: bool
    context_in_baseline: bool
    non_torch_bytes_tp1: float
    non_torch_bytes_tp: float
    graph_bytes: float
    context_bytes: float
    collective_bytes: float
    batch_defaults: tuple[BatchDefaults, ...]
    launch: Literal["graphs", "eager"] = "graphs"
    in_flight_batches: int = 1
    mla_row_elements: int | None = None
    pp_remainder: Literal["spread", "last", "last-r"] = "spread"
    hidden_copies: float = 1.5
    forward_copies: float = 3.0
    marlin_copies_inputs: bool = False
    non_torch_bytes_per_rank: float = 0.0
    non_torch_bytes_tp_plain: float = 0.0
    sort_free_copies: float = 0.0
    sampler_buffer_rows: int = 0
    latent_rope_bytes: int = 4
    mxfp4_padding: Literal["none", "inputs", "both", "wide"] = "none"
    rocm: bool = False
    wide_output_groups: bool = False
    expert_scale_copies: bool = False
    sampler_rows: Literal["sequences", "tokens"] = "sequences"
    embedding_on_host: bool = False
    absorbed: Literal["none", "products", "copies"] = "copies"
    latent_head_on_all: bool = False
    offload: Literal["streams", "computes"] = "streams"
    copied_from_tokens: int = 0
    latent_block_tokens: int = 64
    cpu: CpuRules | None = None
    encoder_copies: int = 0
    widens_encoder_outputs: bool = False
    experts_share_buffers: bool = True
    keeps_expert_buffers: bool = False
    kept_fp8_experts: Literal["none", "channel", "grouped", "few ranks", "modular", "flashinfer"] = "none"
    fp8_experts: Literal["grouped", "triton", "marlin"] = "grouped"
    sparse_gather_contexts: int = 0
    grouped_fp8_experts: bool = False
    capture_factor: int = 2
    capture_limit: int = 512
    capture_coarse_step: int = 8
    graph_bytes_per_layer: float = 0.0
    graph_bytes_per_moe_layer: float = 0.0
    grouped_cache: bool = True
    recurrent_prefixes: bool = False
    cached_states: int = 0
    mamba2_checkpoints: bool = False
    state_element_bytes: int | None = None
    conv_element_bytes: int = 2
    printed_tokens: Literal["blocks", "groups", "concurrency"] = "blocks"
    fraction_rule: Literal["fixed", "by-ranks", "by-reserve", "by-batch", "by-batch-and-prefill", "by-larger-batch"] = (
        "fixed"
    )
    plain_prompts: PlainPrompts | None = None
    note: str = ""

    def __hash__(self) -> int:
        """What tells most releases and builds apart: a search looks them up thousands of times."""
        return hash((self.name, self.version, self.profile, self.launch, self.fp8_experts, self.mxfp4_padding))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags by which a calibration may speak of this release."""
        return engine_tags(self.name, self.version)

    def computes_on_host(self, offload_bytes: float) -> bool:
        """Return whether weights of that size in host memory are computed with there."""
        return self.offload == "computes" and offload_bytes > 0

    def on(self, vendor: str, capability: str | None = None) -> EngineSpec:
        """Return the same release as built for a vendor's accelerators, with the kernels a `capability` runs.

        vLLM: MXFP4 experts run in Triton on Hopper alone; FlashInfer on Blackwell and ROCm pad wider, Marlin elsewhere.
        Only Hopper and data-centre Blackwell reduce over multicast, whose buffers lie beside PyTorch.
        """
        if vendor == "cpu" and self.cpu is not None:
            return self._on_processor(self.cpu, tiles=capability == AMX)
        major = (capability or "9").partition(".")[0]
        if self.name == "sglang" and (vendor != "nvidia" or int(major) > HOPPER):
            return replace(self, wide_output_groups=False, expert_scale_copies=False)
        if self.plain_prompts and vendor in OWN_KERNELS:
            return replace(self, plain_prompts=replace(self.plain_prompts, widened_from_tokens=0))
        if self.name != "vllm":
            return self
        padding, shared = self.mxfp4_padding, self.non_torch_bytes_tp
        if padding == "inputs" and (vendor == "amd" or major != "9"):
            padding = "wide" if vendor == "amd" or major == "10" else "both"
        if vendor == "nvidia" and major not in {"9", "10"}:
            shared = min(shared, self.non_torch_bytes_tp_plain or shared)
        rocm, experts = self.rocm or vendor == "amd", _fp8_experts(vendor, capability or "9.0")
        # Data-centre Blackwell has FlashInfer's fused experts: their rows are never sorted into buffers.
        fused = self.kept_fp8_experts == "flashinfer" and major == "10"
        return replace(
            self, rocm=rocm, mxfp4_padding=padding, non_torch_bytes_tp=shared, fp8_experts=experts,
            sort_free_copies=0.0 if rocm else self.sort_free_copies,
            grouped_fp8_experts=self.grouped_fp8_experts and experts == "grouped" and not fused,
            marlin_copies_inputs=self.marlin_copies_inputs and vendor == "nvidia" and int(major) >= AMPERE,
        )  # fmt: skip

    def _on_processor(self, cpu: CpuRules, *, tiles: bool) -> EngineSpec:
        """Return the release as built for processors; `tiles` says that they have AMX."""
        usual = BatchDefaults(
            memory_bytes_from=0, max_num_batched_tokens=cpu.max_num_batched_tokens, max_num_seqs=cpu.max_num_seqs
        )
        return replace(
            self, block_tokens=cpu.block_tokens, batch_defaults=(usual,), in_flight_batches=1, launch="eager",
            latent_block_tokens=cpu.block_tokens if tiles else cpu.latent_block_tokens,
            state_element_bytes=cpu.state_element_bytes,
            non_torch_bytes_tp1=cpu.process_bytes, non_torch_bytes_tp=cpu.process_bytes, non_torch_bytes_per_rank=0.0,
            graph_bytes=0.0, graph_bytes_per_layer=0.0, graph_bytes_per_moe_layer=0.0, context_bytes=0.0,
            collective_bytes=0.0, sort_free_copies=0.0, grouped_fp8_experts=False, marlin_copies_inputs=False,
        )  # fmt: skip

    def captured_tokens(self, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """Return the tokens of the largest step that is captured as a graph."""
        return min(max_num_seqs * self.capture_factor, self.capture_limit, max_num_batched_tokens)

    def pieced_tokens(self, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """Return up to how many tokens steps with prompts run in captured pieces, attention between them; 0: never."""
        captures = self.name == "vllm" and self.profile == "v1"
        return self.captured_tokens(max_num_seqs, max_num_batched_tokens) if captures else 0

    def recorded_tokens(self, max_num_seqs: int, max_num_batched_tokens: int) -> float:
        """Return the tokens of the largest step that only decodes and still runs as a graph."""
        return inf if self.name == "llama.cpp" else self.captured_tokens(max_num_seqs, max_num_batched_tokens)

    def captured_sizes(self, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """Return how many batch sizes are captured as graphs: 1, 2, 4, steps of 8, coarser steps from 256."""
        largest = self.captured_tokens(max_num_seqs, max_num_batched_tokens)
        small = sum(size <= largest for size in (1, 2, 4))
        coarse = max(0, largest - 256) // self.capture_coarse_step
        return small + min(largest, 256) // 8 + coarse

    def defaults_for(self, gpu_name: str, memory_bytes: float) -> BatchDefaults:
        """Return the batch defaults the engine picks on an accelerator; the largest tier it reaches wins."""
        lowered = gpu_name.lower()
        fitting = [
            tier for tier in self.batch_defaults
            if memory_bytes >= tier.memory_bytes_from and not any(word in lowered for word in tier.excluded_names)
        ]  # fmt: skip
        return max(fitting, key=lambda tier: tier.memory_bytes_from)


def _fp8_experts(vendor: str, capability: str) -> Literal["grouped", "triton", "marlin"]:
    """Grouped products need Hopper or data-centre Blackwell; before Ada nothing multiplies fp8."""
    major, _, minor = capability.partition(".")
    if vendor == "nvidia" and major in {"9", "10"}:
        return "grouped"
    old = vendor == "nvidia" and (int(major), int(minor or 0)) < (8, 9)
    return "marlin" if old else "triton"


def engine_tags(engine: str, version: str = "") -> tuple[str, ...]:
    """Return the tags by which a calibration may speak of an engine: its name and, if known, its generation.

    `version` is a release (`0.11.2`), or the month it was new in (`2025-10`) where nobody said which it was.
    """
    named, dated = re.match(r"v?(\d+)\.(\d+)", version), re.match(r"20\d\d-\d\d", version)
    if not engine:
        return ()
    if not (named or dated) or engine not in GENERATIONS:
        return (f"engine:{engine}",)
    release = (int(named[1]), int(named[2])) if named else (0, 0)
    known = [
        name for first, month, name in GENERATIONS[engine] if (release >= first if named else version[:7] >= month)
    ]
    generation = known[-1]
    return f"engine:{engine}", f"engine:{engine}-{generation}"
