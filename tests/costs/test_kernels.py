"""Which resource kernels wait for, on every accelerator of the catalogue and between accelerators."""

from __future__ import annotations

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster, list_gpus, nodes_for
from sizewell.catalog.models import read_model
from sizewell.costs.batch import Batch
from sizewell.costs.cache_kinds import CacheRules, row_bytes
from sizewell.costs.kernels import kernel_seconds
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, StepTime, price
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.engine import NARROW_ROWS_TAG
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.layers import CompressedAttention

SMALL, LARGE, R1 = (
    "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Meta-Llama-3.1-70B",
    "deepseek-ai/DeepSeek-R1",
)
ONE = Batch.decode(1, 1000)


def step(
    model: str, machines: list[ClusterSpec], weight: str, batch: Batch = ONE, *, tp: int = 1,
    engine: str = "vllm", eager: bool = False,
) -> StepTime:  # fmt: skip
    operators = step_operators(read_model(model), Formats(weight=weight), Parallelism(tp=tp), batch)
    reached = Reached.of(Machines.of(machines), read_efficiencies(), engine)
    return price(operators, reached, Launch(sequences=batch.sampled, eager=eager))


LITTLE_ARITHMETIC = 60
"""Operations a byte of bandwidth below which a chip waits for arithmetic even with one sequence (H20, GTX 1080 Ti)."""


@pytest.mark.parametrize(
    ("weight", "engine", "most"),
    [("bf16", "vllm", 0.0), ("fp8", "vllm", 0.0), ("awq-int4", "vllm", 0.05), ("gguf-q4_k_m", "llama.cpp", 0.25)],
)
def test_one_sequence_waits_for_memory_on_every_gpu(weight: str, engine: str, most: float) -> None:
    gpus = [
        spec
        for spec in list_gpus()
        if spec.kind == "gpu" and spec.peak_flops_per_s("bf16") > LITTLE_ARITHMETIC * spec.bytes_per_s
    ]
    machines = [ClusterSpec(gpu=spec, node=nodes_for(spec)[0], gpus_per_node=1, nodes=1) for spec in gpus]
    found = step(SMALL, machines, weight, engine=engine)
    compute = found.limits["compute"][:, 0] / found.total_s[:, 0]
    # llama.cpp unpacks four bits on plain units, of which an A100 has few: it is slower there than on an RTX 4090, as
    # measured.
    slow = [spec.key for spec, share in zip(gpus, compute, strict=True) if share > 0.5]
    assert len(slow) <= most * len(gpus), slow


def test_a_chip_with_little_arithmetic_waits_for_whole_tiles_of_one_sequence() -> None:
    """An H20 has the memory of an H200 and a seventh of its matrix units: 16-bit products take twice as long."""
    full, cut = (step(SMALL, [cluster(key, gpus_per_node=1)], "bf16") for key in ("h200-sxm-141gb", "h20-141gb"))
    assert cut.parts["mlp"][0, 0] > 1.4 * full.parts["mlp"][0, 0]
    assert cut.bound_by[0, 0] == "compute"


def test_eight_bit_weights_halve_the_products_of_one_sequence_even_without_eight_bit_arithmetic() -> None:
    a100 = [cluster("a100-sxm-80gb", gpus_per_node=4)]
    whole, half = (step(LARGE, a100, weight, tp=4).parts["mlp"][0, 0] for weight in ("bf16", "fp8"))
    assert half < 0.6 * whole


def test_a_faster_generation_gains_little_more_than_its_bandwidth_in_single_stream_decode() -> None:
    # Measured products reach 74 % of the bandwidth of an A100 and 89 % of that of an H100.
    machines = [cluster(key, gpus_per_node=4) for key in ("a100-sxm-80gb", "h100-sxm-80gb")]
    older, newer = step(LARGE, machines, "bf16", tp=4).total_s[:, 0]
    assert older / newer <= machines[1].gpu.bytes_per_s / machines[0].gpu.bytes_per_s * 1.15


def test_long_prompts_gain_from_eight_bit_arithmetic() -> None:
    h100 = [cluster("h100-sxm-80gb", gpus_per_node=1)]
    wide, narrow = (step(SMALL, h100, weight, Batch.prefill(8192)).parts["mlp"][0, 0] for weight in ("bf16", "fp8"))
    # Half the arithmetic, and 8-bit products reach less of their peak and write down scaled activations first.
    assert 0.5 * wide < narrow < 0.85 * wide


def test_eager_steps_on_one_accelerator_wait_for_launches_but_not_for_a_cluster() -> None:
    h100 = [cluster("h100-sxm-80gb", gpus_per_node=1)]
    graphs, eager = (step(SMALL, h100, "bf16", eager=eager) for eager in (False, True))
    assert 5e-3 < graphs.total_s[0, 0] < 8e-3
    assert 9e-3 < eager.total_s[0, 0] < 15e-3
    assert "dispatch" not in eager.parts


def test_ranks_on_several_nodes_wait_for_the_step_to_be_handed_out() -> None:
    nodes = [cluster("h100-sxm-80gb", gpus_per_node=4, nodes=4)]
    assert step(R1, nodes, "native", tp=16).parts["dispatch"][0, 0] > 0
    assert "dispatch" not in step(LARGE, nodes, "bf16", tp=4).parts


def test_a_front_end_bounds_the_tokens_of_many_small_steps() -> None:
    h100 = [cluster("h100-sxm-80gb", gpus_per_node=1)]
    batch = Batch.decode([1, 4000], 100)
    found = step("Qwen/Qwen2.5-0.5B", h100, "bf16", batch)
    per_token = read_efficiencies().value("front_token_s", ["engine:vllm"])
    assert found.parts["front end"][0, 0] == 0
    assert found.total_s[0, 1] >= 4000 * per_token * (1 - 1e-9)


@pytest.mark.parametrize("users", [16, 64, 128])
def test_narrow_rows_take_experts_of_four_bits_further_on_blackwell(users: int) -> None:
    """Published kernels of gpt-oss-120b on a B200: 64 rows by 16 bits take 294 µs a layer under vLLM, by 8 bits 207 to
    227 µs under TensorRT-LLM and SGLang. Its prices were those of 16 bits whatever it was told.
    """
    operators = step_operators(
        read_model("openai/gpt-oss-120b"), Formats(weight="native"), Parallelism(), Batch.decode(users, 1000)
    )
    experts = [each for each in operators if each.name == "routed experts"]
    machines = Machines.of([cluster("b200-sxm-180gb", gpus_per_node=1)])
    seconds = {}
    for engine, also in ("vllm", ()), ("vllm", (NARROW_ROWS_TAG,)), ("trtllm", ()):
        reached = Reached.of(machines, read_efficiencies(), engine, also=also)
        seconds[engine, also] = float(kernel_seconds(experts, reached).sum())
    wide, narrow, other = seconds.values()
    assert 1.2 < wide / narrow < 1.8
    assert narrow == pytest.approx(other, rel=0.25)


def test_compressed_rows_are_read_as_the_ledger_stores_them() -> None:
    model = read_model("deepseek-ai/DeepSeek-V4-Flash")
    mixer = next(layer.mixer for layer in model.layers if isinstance(layer.mixer, CompressedAttention))
    row = row_bytes(mixer, "auto", model, 1, CacheRules())
    assert row == mixer.head_dim + mixer.rope_head_dim + 8


def test_cards_in_slots_meet_at_the_rate_of_the_slot() -> None:
    machine = cluster("l40s-48gb", gpus_per_node=4)
    assert machine.node.topology == "pcie"
    assert Machines.of([machine]).near_bytes_per_s[0] == machine.node.scale_up.bytes_per_s


def test_a_halved_rate_of_long_sums_is_all_that_is_halved() -> None:
    """A GeForce card feeds its matrix units as the full chip does: twice the share of half the rate, at most 0.95."""
    geforce, full = cluster("rtx-4090-24gb", gpus_per_node=1, nodes=1), cluster("l40s-48gb", gpus_per_node=1, nodes=1)
    seconds = step(SMALL, [geforce, full], "bf16", Batch.prefill(4096)).limits["compute"][:, 0]
    rates = [each.gpu.peak_flops_per_s("bf16") for each in (geforce, full)]
    shares = 1 / (seconds * rates)
    assert 1.4 < shares[0] / shares[1] < 2.0
