"""Processors follow curves of their own: memory by socket, threads that wait for one another, no tiles to fill."""

from __future__ import annotations

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.costs.batch import Batch
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, StepTime, price
from sizewell.costs.work import total_work
from sizewell.specs.deployment import Formats, Parallelism


def step(model: str, processor: str, weights: str, batch: Batch) -> StepTime:
    operators = step_operators(read_model(model), Formats(weight=weights), Parallelism(), batch)
    reached = Reached.of(Machines.of([cluster(processor, gpus_per_node=1)]), read_efficiencies(), "llama.cpp")
    return price(operators, reached, Launch(sequences=batch.sampled))


@pytest.mark.parametrize(
    ("model", "processor", "weights", "least", "most"),
    [
        ("deepseek-r1", "cpu-epyc-9654-2s", "gguf-q4_k_m", 6, 10),
        ("deepseek-r1", "cpu-epyc-9654-2s", "gguf-q8_0", 5, 9),
        ("llama-3.1-8b", "cpu-ryzen-7600", "gguf-q4_k_m", 9, 13),
        ("llama-3.1-8b", "cpu-i7-14700k", "gguf-q4_k_m", 9, 13),
        ("llama-3.3-70b", "cpu-epyc-9654-2s", "gguf-q4_k_m", 4, 9),
    ],
)
def test_tokens_of_one_user_lie_where_reports_do(
    model: str, processor: str, weights: str, least: float, most: float
) -> None:
    assert least <= 1 / step(model, processor, weights, Batch.decode(1, 1000)).total_s[0, 0] <= most


@pytest.mark.parametrize("weights", ["gguf-q4_k_m", "gguf-q8_0", "bf16"])
def test_one_token_waits_for_memory_and_not_for_tiles(weights: str) -> None:
    """Products of one row fill no tile of a matrix unit: a processor has none to fill."""
    time = step("llama-3.1-8b", "cpu-ryzen-9950x", weights, Batch.decode(1, 1000))
    assert time.bound_by[0, 0] == "memory"
    work = total_work(
        step_operators(read_model("llama-3.1-8b"), Formats(weight=weights), Parallelism(), Batch.decode(1, 1000))
    )
    stated = work.hbm_bytes[0] / cluster("cpu-ryzen-9950x", gpus_per_node=1).gpu.bytes_per_s
    assert 1.4 * stated < time.total_s[0, 0] < 1.9 * stated


def test_two_sockets_reach_little_more_than_one_of_them() -> None:
    time = step("llama-3.3-70b", "cpu-epyc-9654-2s", "gguf-q4_k_m", Batch.decode(1, 1000))
    work = total_work(
        step_operators(read_model("llama-3.3-70b"), Formats(weight="gguf-q4_k_m"), Parallelism(), Batch.decode(1, 1000))
    )
    one_socket_s = work.hbm_bytes[0] / (460.8e9 * 0.65)
    assert 0.75 * one_socket_s < time.limits["memory"][0, 0] < 1.05 * one_socket_s


def test_more_threads_wait_longer_for_one_another() -> None:
    launches = [
        step("llama-3.1-8b", p, "gguf-q4_k_m", Batch.decode(1, 1)).parts["launch"][0, 0]
        for p in ("cpu-ryzen-7600", "cpu-epyc-9654-2s")
    ]
    assert launches[1] == pytest.approx(4 * launches[0], rel=1e-3)  # factors are kept to four digits
