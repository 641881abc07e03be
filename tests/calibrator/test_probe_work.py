"""A probe is counted by the cost model's own operators, and predicted without what an engine adds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sizewell.calibrator.cut_model import cut_model
from sizewell.calibrator.probe_grid import KINDS, LAYERED, Scope, probes
from sizewell.calibrator.probe_work import probe_work
from sizewell.calibrator.side_by_side import predict_probe
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.specs.errors import BadInputError
from sizewell.specs.layers import MoeMlp
from sizewell.specs.machine_figure import Probe

MODELS = {name: read_model(name) for name in LAYERED}
EVERYTHING = Scope(device="gpu", memory_bytes=141e9, devices=8, dtypes=("bf16", "fp16", "fp32", "fp8", "int8"))
LLAMA, _, DEEPSEEK = LAYERED


def test_a_product_counts_two_operations_a_pair_and_every_matrix_once() -> None:
    work = probe_work(Probe(kind="gemm", op="gemm", dtype="bf16", shape={"m": 8, "n": 4096, "k": 1024}), MODELS)
    assert work.flops == 2 * 8 * 4096 * 1024
    assert work.bytes == 2 * (8 * 4096 + 8 * 1024 + 4096 * 1024)


@pytest.mark.parametrize(("op", "arrays"), [("read", 1), ("copy", 2), ("triad", 3)])
def test_a_stream_counts_the_arrays_that_cross_memory(op: str, arrays: int) -> None:
    assert probe_work(Probe(kind="memory", op=op, dtype="fp32", shape={"bytes": 2**20}), MODELS).bytes == arrays * 2**20


def test_decode_attention_reads_the_cache_once() -> None:
    shape = {"sequences": 4, "context_tokens": 1000, "heads": 32, "kv_heads": 8, "head_dim": 128}
    work = probe_work(Probe(kind="attention", op="decode", dtype="bf16", shape=shape), MODELS)
    assert work.bytes == 4 * 1000 * 2 * 8 * 128 * 2
    assert work.flops == 4 * 1000 * 32 * 2 * (128 + 128)


def test_causal_prefill_counts_half_the_square() -> None:
    shape = {"sequences": 2, "tokens": 512, "heads": 128, "latent": 512, "head_dim": 128}
    work = probe_work(Probe(kind="attention", op="latent-prefill", dtype="bf16", shape=shape), MODELS)
    assert work.flops == 2 * 512 * 512 / 2 * 128 * 2 * (128 + 64 + 128)


def test_one_token_reads_as_many_experts_as_it_chooses() -> None:
    shape = {"tokens": 1, "experts": 256, "top_k": 8, "hidden": 7168, "intermediate": 2048}
    work = probe_work(Probe(kind="experts", op="grouped-gemm", dtype="bf16", shape=shape), MODELS)
    one_expert = 3 * 7168 * 2048
    assert work.flops == 8 * 2 * one_expert
    assert work.bytes == pytest.approx(8 * one_expert * 2, rel=0.01)


def test_a_layer_probe_is_the_layers_of_a_step_and_nothing_around_them() -> None:
    shape = {"layers": 2, "sequences": 1, "context_tokens": 1}
    work = probe_work(Probe(kind="layers", op="decode", dtype="bf16", shape=shape, model=LLAMA), MODELS)
    matrices = sum(t.parameters for t in MODELS[LLAMA].layers[0].tensors if t.is_matrix)
    assert work.bytes == pytest.approx(2 * 2 * matrices, rel=0.01)


@pytest.mark.parametrize("probe", probes(EVERYTHING, MODELS)[::5], ids=str)
def test_every_probe_is_predicted_above_its_floor(probe: Probe) -> None:
    predicted = predict_probe(probe, cluster("h200", gpus_per_node=8), read_efficiencies(), MODELS)
    work = probe_work(probe, MODELS)
    if probe.kind == "launch" and probe.op != "graph-kernel":
        assert predicted is None
        return
    assert predicted is not None
    assert math.isfinite(predicted.seconds)
    assert predicted.seconds > 0
    assert predicted.seconds >= predicted.floor_s * (1 - 1e-9)
    assert work.bytes > 0 or probe.kind == "launch"


def test_a_prediction_leaves_out_what_an_engine_adds() -> None:
    tiny = Probe(kind="launch", op="graph-kernel", dtype="")
    efficiencies = read_efficiencies()
    predicted = predict_probe(tiny, cluster("h200", gpus_per_node=1), efficiencies, MODELS)
    assert predicted is not None
    assert efficiencies.value("kernel_gap_s") * (1 - 1e-9) <= predicted.seconds < efficiencies.value("host_step_s") / 10


def test_a_host_copy_goes_over_the_host_link() -> None:
    probe = Probe(kind="copy", op="host-to-device", dtype="", shape={"bytes": 2**30})
    machine, efficiencies = cluster("h200", gpus_per_node=1), read_efficiencies()
    predicted = predict_probe(probe, machine, efficiencies, MODELS)
    rate = (machine.gpu.host_link_bytes_per_s or 0.0) * efficiencies.value("link_host")
    assert predicted is not None
    assert predicted.seconds == pytest.approx(2**30 / rate, rel=1e-3)


@pytest.mark.parametrize(
    "probe",
    [
        Probe(kind="gemm", op="gemm", dtype="bf16", shape={"m": 1}),
        Probe(kind="gemm", op="gemm", dtype="fp3", shape={"m": 1, "n": 1, "k": 1}),
        Probe(kind="attention", op="sideways", dtype="bf16"),
        Probe(kind="layers", op="decode", dtype="bf16", shape={"layers": 1}, model="nobody/nothing"),
    ],
    ids=str,
)
def test_a_probe_nobody_documented_is_refused(probe: Probe) -> None:
    with pytest.raises(BadInputError, match=r"docs/measure\.md"):
        probe_work(probe, MODELS)


def test_a_cut_model_keeps_its_width_and_loses_depth_and_experts() -> None:
    whole = MODELS[DEEPSEEK]
    cut = cut_model(whole, 1, 16)
    (layer,) = cut.layers
    assert isinstance(layer.mlp, MoeMlp)
    assert (layer.mlp.experts, layer.mlp.top_k, cut.hidden) == (16, 8, whole.hidden)
    routed = [t for t in layer.tensors if t.role == "routed-experts"]
    assert [t.matrices for t in routed] == [16, 16]
    assert [t.rank_rows(1) for t in layer.tensors if t.role == "router"] == [16]


@pytest.mark.parametrize(("layers", "experts"), [(0, 0), (62, 0), (1, 4), (1, 512)])
def test_more_than_there_is_cannot_be_cut(layers: int, experts: int) -> None:
    with pytest.raises(BadInputError):
        cut_model(MODELS[DEEPSEEK], layers, experts)


def _bytes(probe: Probe) -> float:
    return probe_work(probe, MODELS).bytes


@pytest.mark.parametrize("memory_bytes", [8e9, 24e9, 80e9, 288e9])
def test_no_weights_or_cache_take_more_than_half_of_memory(memory_bytes: float) -> None:
    scope = Scope(device="gpu", memory_bytes=memory_bytes, devices=1, dtypes=("bf16", "fp32", "fp8"))
    found = probes(scope, MODELS)
    still = [p for p in found if p.shape.get("tokens", 1) == 1 and p.shape.get("m", 1) == 1 and p.kind != "copy"]
    assert {probe.kind for probe in still} >= {"memory", "gemm", "attention", "layers"}
    assert max(_bytes(probe) for probe in still) < memory_bytes / 2
    assert {probe.dtype for probe in found if probe.kind == "gemm"} == {"bf16", "fp32", "fp8"}


@pytest.mark.parametrize("small", [False, True])
def test_quick_is_a_small_part_of_everything(small: bool) -> None:
    scope = Scope(device="cpu" if small else "gpu", memory_bytes=24e9, devices=1, dtypes=("bf16", "fp32"), small=small)
    whole, quick = probes(scope, MODELS), probes(replace(scope, quick=True), MODELS)
    assert len(quick) < len(whole) / 2
    assert {probe.kind for probe in quick} == {probe.kind for probe in whole}


def test_kinds_come_in_their_order_and_only_those_asked_for() -> None:
    found = [probe.kind for probe in probes(EVERYTHING, MODELS)]
    assert list(dict.fromkeys(found)) == list(KINDS)
    some = Scope(device="gpu", memory_bytes=24e9, devices=1, dtypes=("fp32",), kinds=("gemm", "attention"))
    assert {probe.kind for probe in probes(some, {})} == {"gemm", "attention"}


def test_rows_up_to_sixteen_thousand_and_no_shape_twice() -> None:
    found = [probe for probe in probes(EVERYTHING, MODELS) if probe.kind == "gemm"]
    assert {probe.shape["m"] for probe in found} >= {1, 16, 256, 4096, 16384}
    assert len({str(probe) for probe in found}) == len(found)


def test_a_session_cut_short_has_seen_prefill_and_decode_alike() -> None:
    first = [probe.op for probe in probes(replace(EVERYTHING, kinds=("attention",)), MODELS)[:8]]
    assert {"prefill", "decode", "latent-prefill", "latent-decode"} == set(first)
    layers = [probe.op for probe in probes(replace(EVERYTHING, kinds=("layers",)), MODELS)[:4]]
    assert layers == ["decode", "prefill", "decode", "prefill"]
