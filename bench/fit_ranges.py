"""The factors of the default calibration: where the fit starts, what is plausible, what is assumed without a fit.

Ranges are physical experience: products reach 0.6 to 0.75 of a tensor peak at large sizes, streams 0.75 to 0.9 of a
memory bandwidth, kernels start every few microseconds, a host spends about a millisecond on a step.
"""

from __future__ import annotations

from typing import NamedTuple

from sizewell.calibrator.beliefs import Belief
from sizewell.specs.calibration import Efficiencies, Factor


class Guess(NamedTuple):
    """Where a factor starts, the range that is physically plausible, and its spread."""

    start: float
    low: float
    high: float
    spread: float = 0.3


SHARED = {
    "flops_gemm": Guess(0.72, 0.68, 0.85, 0.15),
    "flops_narrow": Guess(0.9, 0.85, 1.0, 0.2),
    "flops_scaled": Guess(0.8, 0.4, 1.0, 0.3),
    "flops_dequantised": Guess(0.6, 0.3, 0.8),
    "flops_vector": Guess(0.12, 0.09, 0.3, 0.5),
    "flops_experts": Guess(0.3, 0.1, 0.7),
    "flops_dequantised_experts": Guess(0.3, 0.1, 0.6, 0.4),
    "flops_prefill_attention": Guess(0.5, 0.3, 0.7),
    "flops_latent_attention": Guess(0.5, 0.2, 0.8),
    "hbm_gemm": Guess(0.82, 0.75, 0.88, 0.1),
    "hbm_dequantised": Guess(0.75, 0.6, 0.88, 0.2),
    "hbm_experts": Guess(0.75, 0.5, 0.88, 0.25),
    "hbm_dequantised_experts": Guess(0.7, 0.4, 0.88),
    "hbm_scaled": Guess(0.85, 0.5, 1.0, 0.3),
    "hbm_attention": Guess(0.75, 0.5, 0.88, 0.25),
    "hbm_latent_attention": Guess(0.5, 0.15, 0.88),
    "hbm_state": Guess(0.75, 0.7, 0.88),
    "link_near": Guess(0.7, 0.6, 0.85, 0.25),
    "link_host": Guess(0.5, 0.3, 0.8),
    "tile_rows": Guess(16, 8, 16, 0.5),
    "expert_tile_rows": Guess(16, 8, 16, 0.5),
    "kernel_gap_s": Guess(2e-6, 1e-6, 4e-6, 0.5),
    "host_step_s": Guess(1e-3, 2e-4, 2e-3, 0.6),
    "host_sequence_s": Guess(1e-5, 2e-6, 3e-5, 0.6),
    "front_token_s": Guess(2e-5, 5e-6, 8e-5, 1.0),
    "collective_s": Guess(4e-6, 2e-6, 1.2e-5, 0.5),
    "far_collective_s": Guess(6e-5, 2e-5, 1.5e-4, 0.6),
    "request_s": Guess(1e-2, 2e-3, 0.1, 1.0),
    "burst_share": Guess(0.3, 0.05, 2.0, 1.0),
}
TAGGED = {
    "engine:vllm": {"far_step_s": Guess(8e-3, 1e-3, 1.2e-2, 1.0), "far_collective_s": Guess(4e-4, 5e-5, 8e-4, 0.6)},
    "engine:trtllm": ("host_step_s", "host_sequence_s", "request_s", "burst_share"),
    "engine:sglang": ("host_step_s", "host_sequence_s", "request_s", "burst_share"),
    "engine:llama.cpp": {
        "tile_rows": Guess(64, 32, 128, 0.5), "host_step_s": Guess(4e-4, 1e-4, 3e-3, 0.6),
        "hbm_dequantised": SHARED["hbm_dequantised"], "flops_dequantised": SHARED["flops_dequantised"],
    },
    "engine:lmdeploy": {"burst_share": Guess(1.0, 0.05, 2.0, 1.0), "request_s": SHARED["request_s"]},
    "vendor:apple": ("hbm_gemm", "hbm_dequantised", "flops_prefill_attention"),
    "vendor:amd": {"hbm_gemm": Guess(0.75, 0.55, 0.88, 0.1), "hbm_attention": SHARED["hbm_attention"],
                   "flops_gemm": Guess(0.6, 0.4, 0.85, 0.15), "host_step_s": SHARED["host_step_s"]},
    "architecture:blackwell": {"hbm_experts": SHARED["hbm_experts"], "hbm_latent_attention": SHARED["hbm_latent_attention"],
                               "flops_experts": SHARED["flops_experts"],
                               "flops_dequantised_experts": Guess(0.5, 0.2, 0.9, 0.4)},
    "architecture:ada": {"flops_gemm": Guess(0.65, 0.45, 0.85, 0.15)},
    "architecture:ampere": {"flops_gemm": Guess(0.65, 0.45, 0.85, 0.15)},
}  # fmt: skip
"""Factors another engine, maker or generation differs in; plain names keep the range of the shared factor."""

ASSUMED = {
    "flops_decode_attention": (0.3, 0.3, "assumed: short of a fit, decode attention waits for memory"),
    "flops_state": (0.2, 0.5, "assumed before any fit"),
    "link_far": (0.7, 0.3, "assumed before any fit"),
    "eager_launch_s": (3e-5, 0.4, "assumed: eager steps of an 8B model on one fast accelerator take 10 to 14 ms"),
    "far_step_s": (2e-3, 1.0, "assumed: one message to each node before a step and one back"),
    "acceptance": (0.75, 0.2, "assumed before any fit"),
    "throughput_spread": (0.4, 0.0, "assumed before any fit"),
    "ttft_spread": (0.8, 0.0, "assumed before any fit"),
    "tpot_spread": (0.35, 0.0, "assumed before any fit"),
    "e2e_spread": (0.35, 0.0, "assumed before any fit"),
    "assumed_widening": (1.3, 0.0, "assumed before any fit"),
    "gpu_widening": (1.2, 0.0, "assumed before any fit"),
    "engine_widening": (1.2, 0.0, "assumed before any fit"),
    "ttft_median_ratio": (0.9, 1.0, "assumed before any fit"),
    "ttft_p90_ratio": (1.5, 1.0, "assumed before any fit"),
    "ttft_p95_ratio": (1.8, 1.0, "assumed before any fit"),
    "ttft_p99_ratio": (2.2, 1.0, "assumed before any fit"),
    "tpot_median_ratio": (1.0, 1.0, "assumed before any fit"),
    "tpot_p90_ratio": (1.12, 1.0, "assumed before any fit"),
    "tpot_p95_ratio": (1.15, 1.0, "assumed before any fit"),
    "tpot_p99_ratio": (1.2, 1.0, "assumed before any fit"),
}


def start() -> Efficiencies:
    """Return the efficiencies before any fit."""
    first = {name: Factor(value=g.start, spread=g.spread, source="start") for name, g in SHARED.items()}
    assumed = {name: Factor(value=v, spread=s, source=why) for name, (v, s, why) in ASSUMED.items()}
    own = {
        tag: {name: Factor(value=g.start, spread=g.spread, source="start") for name, g in table.items()}
        for tag, table in TAGGED.items()
        if isinstance(table, dict)
    }
    return Efficiencies(name="default", factors={**first, **assumed}, overrides=own)


OFFSET = 0.3
"""Spread of the multiplier of a tag on top of that of everything."""
NARROWEST, WIDEST = 0.1, 0.7
ALSO = {"acceptance": 0.1}


def beliefs() -> tuple[Belief, ...]:
    """Return what is fitted, each with how far it may lie from where it starts."""
    everywhere = [
        Belief(factor=name, spread=min(max(guess.spread, NARROWEST), WIDEST)) for name, guess in SHARED.items()
    ]
    everywhere += [Belief(factor=name, spread=spread) for name, spread in ALSO.items()]
    return (*everywhere, *(Belief(factor=name, spread=OFFSET, tag=tag) for tag, names in TAGGED.items() for name in names))
