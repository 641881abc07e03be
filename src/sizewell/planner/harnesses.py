"""What a benchmark is known to set where its table leaves it open, from its published launch scripts.

InferenceX (InferenceMAX), since 2025-10: recent releases of every engine, vLLM with its scheduler beside the step;
TensorRT-LLM with an 8-bit cache and room for one prompt in a step; on Blackwell 8-bit caches, SGLang with chunks of
16,384 tokens, graphs for all users and a look for new requests every 10 decoding steps, 30 from 16 users on, and vLLM
told to multiply the four-bit experts of gpt-oss by 8-bit rows (VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8), which it does not
by itself. Prefix caches are off. SGLang drafts two tokens, TensorRT-LLM three, or one where attention is data-parallel
and a rank of a decode pool has many sequences. Pools compute prompts in larger steps than replicas that also decode:
16,384 tokens under TensorRT-LLM, 32,768 under SGLang, and there at least a prompt for every data-parallel rank. On
eight Blackwell cards SGLang has 82 % of memory for weights and cache, 85 % with four-bit weights.

trtllm-bench, as TensorRT-LLM's performance overview runs it, queues at once a number of requests that depends on their
lengths; other tables of runs that start all at once state it as their concurrency.

NVIDIA's own AIPerf runs are launched by aiconfigurator, whose benchmark rules give vLLM and TensorRT-LLM a step of one
token for every user, one prompt and 1,500 tokens more.

Conversations of ShareGPT are taken as serving benchmarks filter them: prompts up to 1,024 tokens, with their answers up
to 2,048. LLMServingSim's are longer and more alike, as its request file says.

inference-perf goes round as many prompts as its system prompts have users: all but the first find theirs in the prefix
cache, question and all.

MLPerf's server scenario raises the load until a limit on the 99th percentile breaks: 2 s to the first token, 200 ms for
each further one (Llama-2-70B and Mixtral-8x7B). NVIDIA's code, which all submitters with its cards run, has sequences
admitted while there is room for their next tokens (batch_scheduler_policy max_util).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from sizewell.planner.measured_point import PointRow
from sizewell.specs.deployment import Parallelism

EFFECTIVE = 0.9
"""Mean over nominal lengths: they are drawn uniformly from 0.8 to 1.0 of the nominal ones."""
RELEASES = {"vllm": "0.14", "trtllm": "1.0", "sglang": "0.5"}
"""Generations its rows without a version are of."""
PROMPT_ROOM, PROMPT_STEP = 64, 64
GPT_OSS_TOKENS = 20_000
CHUNK_TOKENS = {"hopper": 32_768, "blackwell": 16_384}
POOL_TOKENS = {"sglang": 32_768, "trtllm": 16_384}
"""Prompt tokens of a step of a replica that only computes prompts."""
DRAFTS, SGLANG_DRAFTS, FEW_DRAFTS = 3, 2, 1
MANY_OF_A_RANK = 96.0
"""Sequences of a data-parallel rank from which on a decode pool drafts one token: recipes draft three for batches up to
64 and one from 128 on."""
EIGHT_RANKS = 8
SGLANG_FRACTION, SGLANG_NARROW_FRACTION = 0.82, 0.85
MANY_USERS = 16
LONGEST_MEANS = 4.0
AIPERF_ROOM = 1500
RECEIVE_STEPS, MANY_RECEIVE_STEPS = 10, 30
QUEUED = {
    (128, 128): 30_000, (128, 2048): 3000, (128, 4096): 1500, (500, 2000): 3000, (1000, 1000): 3000,
    (1000, 2000): 1500, (2048, 128): 3000, (2048, 2048): 1500, (5000, 500): 1500, (20_000, 2000): 1000,
}  # fmt: skip
"""Requests of the overview's runs by input and output tokens (docs/source/performance/perf-overview.md, 1.0)."""
TUNED_TPOT_P99_S = 0.2
P99_OVER_MEAN = 1.17
"""Of the time per output token under a steady load: quartiles of published runs are 1.13 and 1.20."""
TUNED_TPOT_S = TUNED_TPOT_P99_S / P99_OVER_MEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """How far lengths of real conversations are apart: shapes of gamma distributions, 1 = exponential, and longest."""

    prompt_shape: float = 1.0
    answer_shape: float = 1.0
    longest_prompt_tokens: float = 1024.0
    longest_tokens: float = 2048.0


SHARE_GPT = Conversation(prompt_shape=0.5, answer_shape=0.85)
"""Many prompts and answers are short: mean over median time per output token, 1.0 to 2.9 where a thousand start at
once, tells how many (shared/data/points-dev.csv, statistics that nothing else is fitted to)."""
LLM_SERVING_SIM = Conversation(
    prompt_shape=2.6, answer_shape=44.0, longest_prompt_tokens=4096.0, longest_tokens=8192.0
)  # fmt: skip
"""Prompts of 860 tokens with a deviation of 0.62 of that, answers of 650 with 0.15 (shared/data/traces)."""


def conversation(row: PointRow) -> Conversation:
    """Return the lengths a row's conversations have; longer ones where the mean says so."""
    if row.dataset.startswith("llmservingsim"):
        return LLM_SERVING_SIM
    prompt, answer = row.input_tokens or 0.0, row.output_tokens or 0.0
    longest = max(SHARE_GPT.longest_prompt_tokens, LONGEST_MEANS * prompt)
    whole = max(SHARE_GPT.longest_tokens, LONGEST_MEANS * (prompt + answer))
    return replace(SHARE_GPT, longest_prompt_tokens=longest, longest_tokens=whole)


def is_inferencex(row: PointRow) -> bool:
    """Return whether a row comes from that harness, directly or through a collection."""
    return row.dataset.startswith("inferencex") or "InferenceX" in row.notes


def as_launched(row: PointRow, engine: str, architecture: str) -> PointRow:
    """Return a row with what its harness sets of an engine on an architecture, where the row states nothing."""
    if row.load == "offline":
        row = replace(row, num_requests=row.num_requests or row.concurrency or _queued(row))
    if "AIPerf" in row.notes and engine in {"vllm", "trtllm"}:
        room = ceil((row.input_tokens or 0.0) + (row.concurrency or 0.0)) + AIPERF_ROOM
        return replace(row, max_num_batched_tokens=row.max_num_batched_tokens or room)
    if not is_inferencex(row):
        return row
    narrow = engine == "trtllm" or architecture == "blackwell"
    return replace(
        row,
        engine_version=row.engine_version or RELEASES.get(engine, ""),
        kv_format=row.kv_format or ("fp8" if narrow else ""),
        max_num_batched_tokens=row.max_num_batched_tokens or _step_tokens(row, engine, architecture),
        memory_fraction=row.memory_fraction or _memory_fraction(row, engine, architecture),
    )


def _memory_fraction(row: PointRow, engine: str, architecture: str) -> float | None:
    if engine != "sglang" or architecture != "blackwell" or row.tp != EIGHT_RANKS:
        return None
    return SGLANG_NARROW_FRACTION if row.weight_format == "nvfp4" else SGLANG_FRACTION


def drafts(row: PointRow, engine: str, cut: Parallelism, users: float) -> int:
    """Return the tokens a sequence drafts in a step on a replica cut so, which has so many `users`."""
    if row.speculative != "mtp":
        return 0
    if engine == "sglang":
        return SGLANG_DRAFTS if is_inferencex(row) else DRAFTS
    if engine != "trtllm" or cut.dp == 1:
        return DRAFTS
    return DRAFTS if row.disaggregated and users / cut.dp < MANY_OF_A_RANK else FEW_DRAFTS


def rank_tokens(row: PointRow, engine: str, cut: Parallelism, tokens: int) -> int:
    """Return the token budget of one data-parallel rank of a replica that was told `tokens`.

    SGLang is told those of a step and divides them among its ranks; recipes of pools see to it that one prompt fits.
    """
    if engine != "sglang" or cut.dp == 1:
        return tokens
    whole = round((row.input_tokens or 0.0) / EFFECTIVE) if row.disaggregated and is_inferencex(row) else 1
    return max(tokens // cut.dp, whole)


def _step_tokens(row: PointRow, engine: str, architecture: str) -> int | None:
    if row.disaggregated:
        return POOL_TOKENS.get(engine)
    if engine == "sglang":
        return CHUNK_TOKENS.get(architecture)
    if engine != "trtllm":
        return None
    if "gpt-oss" in row.model:
        return GPT_OSS_TOKENS
    nominal = (row.input_tokens or 0.0) / EFFECTIVE
    return PROMPT_STEP * ceil((nominal + (row.concurrency or 0.0) + PROMPT_ROOM) / PROMPT_STEP)


def _queued(row: PointRow) -> float | None:
    if "trtllm-bench" not in row.notes:
        return None
    return QUEUED.get((round(row.input_tokens or 0), round(row.output_tokens or 0)))


def keeps_prefixes(row: PointRow, engine: str) -> bool:
    """Return whether computed prompts stay findable: engines do so unless told otherwise, as by its scripts."""
    return row.shared_prefix_tokens > 0 or (engine in {"vllm", "sglang"} and not is_inferencex(row))


def narrows_expert_rows(row: PointRow, engine: str, architecture: str) -> bool:
    """Return whether experts of four bits are multiplied by 8-bit rows where the engine would not do so by itself."""
    return is_inferencex(row) and engine == "vllm" and architecture == "blackwell" and "gpt-oss" in row.model


def fills_cache(row: PointRow) -> bool:
    """Return whether sequences are admitted without room for all of their answers."""
    return "MLPerf" in row.notes


def streams_single_tokens(row: PointRow, engine: str) -> bool:
    """Return whether every token is sent by itself: its scripts send ten or more of these engines at once."""
    return not (is_inferencex(row) and engine in {"sglang", "trtllm"})


def records_all(row: PointRow, engine: str) -> bool:
    """Return whether graphs are recorded up to as many sequences as there are users, as its scripts ask."""
    return is_inferencex(row) and engine == "sglang"


def receive_steps(row: PointRow, engine: str, architecture: str) -> int:
    """Return the decoding steps between two looks for new requests."""
    if not is_inferencex(row) or row.disaggregated or engine != "sglang" or architecture != "blackwell":
        return 1
    return MANY_RECEIVE_STEPS if (row.concurrency or 0) >= MANY_USERS else RECEIVE_STEPS
