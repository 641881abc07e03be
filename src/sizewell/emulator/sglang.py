"""What SGLang's server tells of itself beside tokens, on paths vLLM has not."""

from __future__ import annotations

from typing import Any

from sizewell.emulator.deployment import Emulation

MODELS = "/v1/models/"
MODEL_PATHS = ("/model_info", "/get_model_info")
SERVER_PATHS = ("/server_info", "/get_server_info")
"""The name that is used now, and the one before it."""
OPEN_PATHS = ("/health", "/health_generate", "/metrics")
"""Paths that need no key."""


def answer(path: str, emulation: Emulation) -> tuple[int, Any] | None:
    """Return status and body of a path that is read; None where there is nothing of its own."""
    if path in MODEL_PATHS:
        named = {"model_path": emulation.name, "served_model_name": emulation.name, "tokenizer_path": emulation.name}
        return 200, {**named, "is_generation": True}
    if path in SERVER_PATHS:
        return 200, _server(emulation)
    if not path.startswith(MODELS):
        return None
    if (name := path.removeprefix(MODELS)) == emulation.name:
        length = emulation.max_model_len_tokens
        return 200, {"id": name, "object": "model", "owned_by": "sglang", "root": name, "max_model_len": length}
    said = {"message": f"The model '{name}' does not exist", "type": "invalid_request_error"}
    return 404, {"error": {**said, "param": "model", "code": "model_not_found"}}


def _server(emulation: Emulation) -> dict[str, Any]:
    replica = emulation.fleet.replica
    return {
        "model_path": emulation.name, "served_model_name": emulation.name, "version": emulation.dialect.version,
        "context_length": replica.max_model_len_tokens, "max_running_requests": replica.max_num_seqs,
        "max_total_num_tokens": emulation.memory.kv_tokens,
    }  # fmt: skip
