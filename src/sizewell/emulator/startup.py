"""What the engine says while it starts, in the words of its version, with the numbers of the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from sizewell.costs.ledger import MemoryLedger
from sizewell.emulator import llama_cpp
from sizewell.emulator.deployment import Emulation

GIB = 2**30
SHARDS = 10


def load_lines(emulation: Emulation) -> Iterator[tuple[float, str]]:
    """Return each line with the share of the load time after which it is said."""
    if emulation.dialect.engine != "vllm":
        yield from _sglang_lines(emulation) if emulation.dialect.engine == "sglang" else llama_cpp.load_lines(emulation)
        return
    memory, release = emulation.memory, emulation.dialect.release
    load_s = emulation.failures.load_s
    yield 0.0, f"vLLM API server version {emulation.dialect.version}"
    yield 0.0, f"Starting to load model {emulation.name}..."
    for shard in range(SHARDS + 1 if load_s else 0):
        share = 0.8 * shard / SHARDS
        yield share, f"Loading safetensors checkpoint shards: {100 * shard // SHARDS:3d}% Completed | {shard}/{SHARDS}"
    yield 0.8, f"Loading weights took {0.8 * load_s:.2f} seconds"
    word = " memory" if release >= (0, 15) else ""
    yield 0.8, f"Model loading took {memory.weight_bytes / GIB:.2f} GiB{word} and {0.8 * load_s:.6f} seconds"
    yield 0.85, f"Available KV cache memory: {memory.kv_bytes / GIB:.2f} GiB"
    for line in _cache_lines(memory, release):
        yield 0.85, line
    graphs = sum(line.bytes for line in memory.lines if line.name == "graphs")
    if not memory.settings.enforce_eager:
        yield 0.95, f"Graph capturing finished in {0.1 * load_s:.0f} secs, took {graphs / GIB:.2f} GiB"
    yield 1.0, f"init engine (profile, create kv cache, warmup model) took {0.2 * load_s:.2f} seconds"


def _cache_lines(memory: MemoryLedger, release: tuple[int, ...]) -> list[str]:
    length = memory.settings.max_model_len_tokens
    size = f"GPU KV cache size: {memory.kv_tokens:,} tokens"
    most = f"Maximum concurrency for {length:,} tokens per request: {memory.concurrency(length):.2f}x"
    return [f"{size}, {most}"] if release >= (0, 30) else [size, most]


def _sglang_lines(emulation: Emulation) -> Iterator[tuple[float, str]]:
    memory, settings = emulation.memory, emulation.memory.settings
    free = memory.gpu_bytes / GIB
    weights = memory.weight_bytes / GIB
    yield 0.0, f"Load weight begin. avail mem={free:.2f} GB"
    yield 0.8, f"Load weight end. type={emulation.name}, avail mem={free - weights:.2f} GB, mem usage={weights:.2f} GB."
    yield 0.85, f"KV Cache is allocated. #tokens: {memory.kv_tokens}, KV size: {memory.kv_bytes / GIB:.2f} GB"
    if not settings.enforce_eager:
        yield 0.95, "Capture cuda graph end."
    yield (
        1.0,
        (
            f"max_total_num_tokens={memory.kv_tokens}, chunked_prefill_size={settings.max_num_batched_tokens}, "
            f"max_running_requests={settings.max_num_seqs}, context_len={settings.max_model_len_tokens}"
        ),
    )


def ready_line(emulation: Emulation, address: str) -> str:
    """Return the line that says that requests are taken."""
    if emulation.dialect.engine == "sglang":
        return "The server is fired up and ready to roll!"
    if emulation.dialect.engine == "llama.cpp":
        return llama_cpp.ready_line(address)
    if emulation.dialect.release >= (0, 11):
        return f"Starting vLLM API server 0 on {address}"
    return f"Starting vLLM API server on {address}"
