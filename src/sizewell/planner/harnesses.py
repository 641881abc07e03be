"""What a benchmark is known to set where its table leaves it open, from its published launch scripts.

InferenceX (InferenceMAX), since 2025-10: recent releases of every engine, vLLM with its scheduler beside the step;
TensorRT-LLM with an 8-bit cache and room for one prompt in a step; on Blackwell 8-bit caches, SGLang with chunks of
16,384 tokens and a look for new requests every 10 decoding steps, 30 from 16 users on, and vLLM told to multiply the
four-bit experts of gpt-oss by 8-bit rows (VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8), which it does not by itself. Prefix
caches are off.

NVIDIA's own AIPerf runs are launched by aiconfigurator, whose benchmark rules give vLLM and TensorRT-LLM a step of one
token for every user, one prompt and 1,500 tokens more.

MLPerf's server scenario raises the load until a limit on the 99th percentile breaks: 2 s to the first token, 200 ms for
each further one (Llama-2-70B and Mixtral-8x7B).
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from sizewell.planner.measured_point import PointRow

EFFECTIVE = 0.9
"""Mean over nominal lengths: they are drawn uniformly from 0.8 to 1.0 of the nominal ones."""
RELEASES = {"vllm": "0.14", "trtllm": "1.0", "sglang": "0.5"}
"""Generations its rows without a version are of."""
PROMPT_ROOM, PROMPT_STEP = 64, 64
GPT_OSS_TOKENS = 20_000
CHUNK_TOKENS = {"hopper": 32_768, "blackwell": 16_384}
MANY_USERS = 16
AIPERF_ROOM = 1500
RECEIVE_STEPS, MANY_RECEIVE_STEPS = 10, 30
TUNED_TPOT_P99_S = 0.2
P99_OVER_MEAN = 1.17
"""Of the time per output token under a steady load: quartiles of published runs are 1.13 and 1.20."""
TUNED_TPOT_S = TUNED_TPOT_P99_S / P99_OVER_MEAN


def is_inferencex(row: PointRow) -> bool:
    """Return whether a row comes from that harness, directly or through a collection."""
    return row.dataset.startswith("inferencex") or "InferenceX" in row.notes


def as_launched(row: PointRow, engine: str, architecture: str) -> PointRow:
    """Return a row with what its harness sets of an engine on an architecture, where the row states nothing."""
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
    )


def _step_tokens(row: PointRow, engine: str, architecture: str) -> int | None:
    if engine == "sglang":
        return CHUNK_TOKENS.get(architecture)
    if engine != "trtllm" or row.disaggregated:
        return None
    if "gpt-oss" in row.model:
        return GPT_OSS_TOKENS
    nominal = (row.input_tokens or 0.0) / EFFECTIVE
    return PROMPT_STEP * ceil((nominal + (row.concurrency or 0.0) + PROMPT_ROOM) / PROMPT_STEP)


def keeps_prefixes(row: PointRow, engine: str) -> bool:
    """Return whether computed prompts stay findable: engines do so unless told otherwise, as by its scripts."""
    return row.shared_prefix_tokens > 0 or (engine in {"vllm", "sglang"} and not is_inferencex(row))


def narrows_expert_rows(row: PointRow, engine: str, architecture: str) -> bool:
    """Return whether experts of four bits are multiplied by 8-bit rows where the engine would not do so by itself."""
    return is_inferencex(row) and engine == "vllm" and architecture == "blackwell" and "gpt-oss" in row.model


def streams_single_tokens(row: PointRow, engine: str) -> bool:
    """Return whether every token is sent by itself: its scripts send ten or more of these engines at once."""
    return not (is_inferencex(row) and engine in {"sglang", "trtllm"})


def receive_steps(row: PointRow, engine: str, architecture: str) -> int:
    """Return the decoding steps between two looks for new requests."""
    if not is_inferencex(row) or row.disaggregated or engine != "sglang" or architecture != "blackwell":
        return 1
    return MANY_RECEIVE_STEPS if (row.concurrency or 0) >= MANY_USERS else RECEIVE_STEPS
