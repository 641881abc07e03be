"""What an engine's way to form and issue steps does to their time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.costs.batch import Batch, Floats
from sizewell.costs.kernels import kernel_seconds
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.mlp_work import SHARED_EXPERTS
from sizewell.costs.operators import RankModel
from sizewell.costs.step_policy import StepPolicy
from sizewell.specs.calibration import KERNEL_PARAMETERS
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism

R1 = RankModel.of(read_model("deepseek-ai/DeepSeek-R1"), Formats(), Parallelism(tp=8))
H200 = Reached.of(Machines.of([cluster("h200-sxm-141gb", gpus_per_node=8, nodes=1)]), read_efficiencies(), "sglang")
SETTINGS = EngineSettings(
    max_num_seqs=256, max_num_batched_tokens=8192, max_model_len_tokens=4096, memory_fraction=0.9
)  # fmt: skip


def shared_s(policy: StepPolicy, sequences: float) -> Floats:
    """Return the seconds of R1's shared experts in a step that decodes some sequences."""
    found = policy.operators(R1, Batch.decode(np.array([sequences]), 1000.0))
    return kernel_seconds([each for each in found if each.name == SHARED_EXPERTS], H200).sum(axis=0)[0]


def test_shared_experts_beside_routed_ones_cost_their_traffic_but_no_start() -> None:
    """58 layers of two products: 2 × fixed + (7,168 + 256) inputs × depth each are gone at 64 sequences."""
    aside = StepPolicy.of(SETTINGS, read_engine("sglang"))
    after = replace(aside, aside_rows=0)
    curve = dict(zip(KERNEL_PARAMETERS, H200.curve("gemm.fp8-block", KERNEL_PARAMETERS)[:, 0], strict=True))
    started = 58 * (2 * curve["fixed_s"] + (7168 + 256) * curve["depth_s"])
    assert aside.aside_rows == 1024
    assert shared_s(after, 64) - shared_s(aside, 64) == pytest.approx(started, rel=1e-6)
    assert shared_s(aside, 1536) == pytest.approx(shared_s(after, 1536) - started / 2, rel=1e-6)
    assert shared_s(aside, 2048) == shared_s(after, 2048)
    assert shared_s(replace(aside, eager=True), 64) == shared_s(after, 64)


def test_which_engines_have_a_stream_for_shared_experts() -> None:
    assert StepPolicy.of(SETTINGS, read_engine("vllm")).aside_rows == 0
    assert StepPolicy.of(SETTINGS, read_engine("llama.cpp")).aside_rows == 0
