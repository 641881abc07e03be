"""The factors of the default calibration: where the fit starts, what is plausible, what is assumed without a fit.

What kernels reach is not fitted here but in bench/fit, on measured kernels; here is what is left for whole runs, and
how machines and engines whose kernels nobody measured differ. Ranges are physical experience: in a recorded graph
kernels start a little before their predecessor has drained, a host spends about a millisecond on a step.
"""

from __future__ import annotations

from typing import NamedTuple

from sizewell.calibrator.beliefs import Belief
from sizewell.catalog.calibrations import read_curves
from sizewell.specs.calibration import Efficiencies, Factor


class Guess(NamedTuple):
    """Where a factor starts, the range that is physically plausible, and its spread."""

    start: float
    low: float
    high: float
    spread: float = 0.3


SHARED = {
    "relative_fixed": Guess(0.8, 0.4, 1.1, 0.2),
    "widened_flops": Guess(1.0, 0.5, 1.6),
    "widened_hbm": Guess(1.0, 0.75, 1.15, 0.15),
    "kernel_gap_s": Guess(3e-7, 1e-7, 1.5e-6, 0.5),
    "host_step_s": Guess(1e-3, 2e-4, 2e-3, 0.6),
    "host_sequence_s": Guess(1e-5, 2e-6, 3e-5, 0.6),
    "prefill_launch_s": Guess(3e-5, 1e-5, 6e-5, 0.3),
    "front_token_s": Guess(6e-5, 2e-5, 2e-4, 0.3),
    "far_collective_s": Guess(6e-5, 2e-5, 1.5e-4, 0.6),
    "request_s": Guess(1e-2, 2e-3, 0.1, 1.0),
    "accept_s": Guess(5e-3, 1e-3, 2e-2, 0.7),
    "burst_share": Guess(0.3, 0.05, 2.0, 1.0),
}
ISSUED_GAP = Guess(1.5e-6, 1e-6, 3e-6)
"""Between kernels that wait in a queue, issued one by one: engines that record no graphs leave it in every step."""
TAGGED = {
    "engine:trtllm": ("host_step_s", "host_sequence_s", "request_s", "burst_share", "relative_fixed"),
    "engine:sglang": ("host_step_s", "host_sequence_s", "request_s", "burst_share", "relative_fixed"),
    "engine:trtllm-pytorch": {"prefill_launch_s": Guess(4e-5, 1e-5, 8e-5, 0.3)},
    "engine:sglang-overlapped": {"prefill_launch_s": Guess(4e-5, 1e-5, 8e-5, 0.3)},
    "engine:sglang-recorded": {"prefill_launch_s": Guess(4e-5, 1e-5, 8e-5, 0.3)},
    "engine:trtllm-c++": {"prefill_launch_s": Guess(4e-6, 1e-6, 6e-5, 0.7)},
    "engine:llama.cpp": {"relative_flops": Guess(1.0, 0.3, 3.0, 0.6), "relative_hbm": Guess(1.0, 0.5, 1.5, 0.2),
                         "relative_fixed": Guess(0.8, 0.4, 1.1, 0.2), "host_step_s": Guess(1e-3, 2e-4, 2e-3, 0.6),
                         "prefill_launch_s": Guess(2e-6, 1e-6, 6e-5, 0.7)},
    "engine:lmdeploy": {"burst_share": Guess(1.0, 0.05, 2.0, 1.0), "request_s": SHARED["request_s"],
                        "host_step_s": Guess(2e-4, 5e-5, 5e-4), "host_sequence_s": Guess(2e-6, 5e-7, 1e-5)},
    "engine:mlc-llm": {"host_step_s": Guess(2e-4, 5e-5, 5e-4)},
    "engine:exllama": {"kernel_gap_s": ISSUED_GAP},
    "engine:exllamav2": {"kernel_gap_s": ISSUED_GAP},
    "near:slot": ("relative_link",),
    "architecture:ampere": ("relative_fixed",),
    "architecture:ada": ("relative_fixed",),
    "architecture:blackwell": ("relative_fixed",),
    "form:consumer": ("relative_flops", "relative_hbm", "relative_link"),
    "engine:transformers": {"eager_launch_s": Guess(6e-5, 2e-5, 1.5e-4, 0.5)},
    "vendor:apple": ("relative_flops", "relative_hbm", "relative_fixed"),
    "vendor:amd": ("relative_flops", "relative_hbm", "relative_fixed", "relative_link", "host_step_s"),
}  # fmt: skip
"""Factors another engine, maker or generation differs in; plain names keep the range of the shared factor."""

ASSUMED = {
    "relative_flops": (1.0, 0.15, "measured: the curves as they are"),
    "relative_hbm": (1.0, 0.15, "measured: the curves as they are"),
    "relative_link": (1.0, 0.2, "measured: the curves as they are"),
    "link_host": (0.6, 0.3, "assumed before any fit"),
    "hbm_host": (
        0.6, 0.3, "assumed: between products (0.65) and gathered experts (0.55) of processors in kernels.toml"
    ),
    "flops_host": (
        0.5, 0.5,
        "assumed: integer dot products of quantised weights on AVX2 and AVX-512, unpacking included, beside the FP32 "
        "rate of the vector units",
    ),
    "host_turn_s": (5e-5, 0.5, "assumed: one copy of rows and one wait each way between accelerator and host"),
    "link_far": (0.7, 0.3, "assumed before any fit"),
    "eager_launch_s": (3e-5, 0.4, "assumed: eager steps of an 8B model on one fast accelerator take 10 to 14 ms"),
    "far_step_s": (2e-3, 1.0, "assumed: one message to each node before a step and one back"),
    "acceptance": (0.75, 0.2, "assumed before any fit"),
    "throughput_spread": (0.4, 0.0, "assumed before any fit"),
    "ttft_spread": (0.8, 0.0, "assumed before any fit"),
    "prefill_spread": (0.8, 0.0, "assumed before any fit"),
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

BARRIER = (
    "assumed: all threads wait for one another after each operator, more of them and farther apart on two sockets"
)
THROUGH_HOST = (
    "assumed: NCCL over host memory reaches about 0.6 of what it does between PCIe cards with peer access (public tests of "
    "RTX 4090 under drivers that refuse and allow it)"
)
REPORTS = (
    "assumed: processors were not among the measured machines; reports of one model and machine differ by more than half"
)
INTERLEAVED = (
    "assumed: pages interleaved over two sockets serve cores of both at little more than one socket's rate"
)
ON_HOST = (
    "assumed: no measured run had weights on its host; reports of one model and card differ by half with the memory "
    "around it"
)
ASSUMED_OF_TAGS = {
    "peers:host": {"relative_link": (0.6, 0.3, THROUGH_HOST)},
    "sockets:2": {"hbm_host": (0.33, 0.35, INTERLEAVED)},
    "kind:cpu": {
        "kernel_gap_s": (5e-6, 0.5, BARRIER), "tpot_spread": (0.6, 0.0, REPORTS), "ttft_spread": (1.5, 0.0, REPORTS),
        "prefill_spread": (1.5, 0.0, REPORTS), "throughput_spread": (0.8, 0.0, REPORTS),
        "e2e_spread": (0.6, 0.0, REPORTS),
    },
    "cpu-sockets:2": {"kernel_gap_s": (2e-5, 0.5, BARRIER)},
    "weights:on-host": {
        "tpot_spread": (0.5, 0.0, ON_HOST), "ttft_spread": (1.2, 0.0, ON_HOST), "prefill_spread": (1.2, 0.0, ON_HOST),
        "throughput_spread": (0.7, 0.0, ON_HOST), "e2e_spread": (0.5, 0.0, ON_HOST),
    },
}  # fmt: skip
"""What is not fitted and differs by machine: processors, and hosts of two sockets."""


def start() -> Efficiencies:
    """Return the efficiencies before any fit."""
    first = {name: Factor(value=g.start, spread=g.spread, source="start") for name, g in SHARED.items()}
    assumed = {name: Factor(value=v, spread=s, source=why) for name, (v, s, why) in ASSUMED.items()}
    own = {
        tag: {name: Factor(value=g.start, spread=g.spread, source="start") for name, g in table.items()}
        for tag, table in TAGGED.items()
        if isinstance(table, dict)
    }
    for tag, told in ASSUMED_OF_TAGS.items():
        own[tag] = {name: Factor(value=v, spread=s, source=why) for name, (v, s, why) in told.items()}
    return Efficiencies(name="default", factors={**first, **assumed}, overrides=own, curves=read_curves("kernels"))


OFFSET = 0.3
"""Spread of the multiplier of a tag on top of that of everything."""
LOOSE = {"prefill_launch_s": 0.3, "burst_share": 0.6}
"""What engines differ in most: how prompts are issued, and whether requests that start together wait for each other."""
NARROWEST, WIDEST = 0.1, 0.7
ALSO = {"acceptance": 0.1, "relative_flops": 0.1, "relative_hbm": 0.1, "relative_link": 0.2}
CURVES = ("relative_flops", "relative_hbm")
FAMILIES = ("architecture:hopper", "architecture:ampere", "architecture:ada", "architecture:blackwell",
            "engine:vllm", "engine:sglang", "engine:trtllm", "engine:lmdeploy")  # fmt: skip
"""What kernels may differ in from the curves measured on a few of them: kept close."""
CLOSE = 0.1
HOST = ("host_step_s", "host_sequence_s", "request_s", "front_token_s")
GENERATIONS = ("vllm-v0", "vllm-v1", "vllm-async", "sglang-overlapped", "sglang-recorded", "trtllm-c++", "trtllm-pytorch")
"""Releases of an engine between which the loop around a step changed (specs/engine.py)."""


def beliefs() -> tuple[Belief, ...]:
    """Return what is fitted, each with how far it may lie from where it starts."""
    found = {("", name): min(max(guess.spread, NARROWEST), WIDEST) for name, guess in SHARED.items()}
    found |= {("", name): spread for name, spread in ALSO.items()}
    found |= {(tag, name): LOOSE.get(name, OFFSET) for tag, names in TAGGED.items() for name in names}
    found |= {(tag, name): CLOSE for tag in FAMILIES for name in CURVES if (tag, name) not in found}
    found |= {(f"engine:{engine}", name): OFFSET for engine in GENERATIONS for name in HOST}
    return tuple(Belief(factor=name, spread=spread, tag=tag) for (tag, name), spread in found.items())
