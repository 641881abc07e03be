"""What llama.cpp's server answers beside tokens: other paths and bodies than vLLM and SGLang, and lines of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sizewell.emulator.deployment import Emulation

MIB = 2**20
OPEN_PATHS = ("/health", "/v1/health", "/models", "/v1/models")
"""Paths that need no key; its metrics do."""
COMMIT = "emulated"
"""Stands where its build says of which source it is."""


def answer(path: str, emulation: Emulation, *, dead: bool) -> tuple[int, Any] | None:
    """Return status and body of a path that is read; None where there is nothing."""
    if path in ("/health", "/v1/health"):
        body = emulation.dialect.error(503, "the engine is dead") if dead else {"status": "ok"}
        return (503 if dead else 200), body
    if path in ("/models", "/v1/models"):
        return 200, {"object": "list", "data": [_model(emulation)]}
    return (200, _props(emulation)) if path == "/props" else None


def _model(emulation: Emulation) -> dict[str, Any]:
    meta = {"n_ctx": emulation.max_model_len_tokens, "size": round(emulation.memory.weight_bytes)}
    return {
        "id": emulation.name, "object": "model", "created": int(time.time()), "owned_by": "llamacpp", "meta": meta,
    }  # fmt: skip


def _props(emulation: Emulation) -> dict[str, Any]:
    replica = emulation.fleet.replica
    return {
        "default_generation_settings": {"n_ctx": replica.max_model_len_tokens}, "total_slots": replica.max_num_seqs,
        "model_path": emulation.name, "build_info": f"{emulation.dialect.version}-{COMMIT}",
    }  # fmt: skip


def load_lines(emulation: Emulation) -> Iterator[tuple[float, str]]:
    """Yield each line of the start with the share of the load time after which it is said."""
    memory, settings = emulation.memory, emulation.memory.settings
    (build,), slots, each = emulation.dialect.release, settings.max_num_seqs, settings.max_model_len_tokens
    cache_mib = each * slots * memory.kv_bytes_per_token / MIB
    yield 0.0, f"build: {build} ({COMMIT})"
    yield 0.0, f"srv    load_model: loading model '{emulation.name}'"
    yield 0.8, f"load_tensors:        CUDA0 model buffer size = {memory.weight_bytes / MIB:9.2f} MiB"
    yield (
        0.85,
        f"llama_kv_cache: size = {cache_mib:8.2f} MiB ({each:6d} cells, {memory.layout.group_size:3d} layers, "
        f"{slots:2d}/{slots} seqs)",
    )
    yield 0.9, "common_init_from_params: warming up the model with an empty run - please wait ..."
    yield 1.0, "main: model loaded"


def ready_line(address: str) -> str:
    """Return the line that says that requests are taken."""
    return f"main: server is listening on {address} - starting the main loop"
