"""`sizewell measure` with a real PyTorch on the processor, and its GPU paths with the GPU's own calls stood in for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

import sizewell
from sizewell.calibrator.cut_model import cut_model
from sizewell.calibrator.probe_grid import LAYERED
from sizewell.catalog.figures_file import read_figures
from sizewell.catalog.models import read_model
from sizewell.observer.measure.attention import FastestAttention
from sizewell.observer.measure.attention_probes import latent_attention
from sizewell.observer.measure.bench import Bench, open_bench
from sizewell.observer.measure.decoder import LayerStack
from sizewell.observer.measure.device import find_device, load_torch
from sizewell.observer.measure.grouped import grouped_product, grouped_rows
from sizewell.observer.measure.kernels import prepare_kernel
from sizewell.observer.measure.mixers import StepShape
from sizewell.observer.measure.ranks import all_reduces
from sizewell.observer.measure.session import Occasion, Session
from sizewell.observer.measure.trial import tried_types
from sizewell.specs.layers import Attention, DenseMlp, LatentAttention, Layer, MoeMlp
from sizewell.specs.machine_figure import Probe
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import column_parallel, heads, replicated, row_parallel, split, vector, whole

pytestmark = pytest.mark.real
torch = pytest.importorskip("torch")
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "measure.json").read_text())
MEASURE = [sys.executable, "-m", "sizewell", "measure", "--device", "cpu"]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return open_bench(load_torch(), find_device(torch, "cpu"))


SMALL = [
    Probe(kind="memory", op="read", dtype="fp32", shape={"bytes": 2**20}),
    Probe(kind="memory", op="copy", dtype="fp32", shape={"bytes": 2**20}),
    Probe(kind="memory", op="triad", dtype="fp32", shape={"bytes": 2**20}),
    *(Probe(kind="gemm", op="gemm", dtype=t, shape={"m": 32, "n": 64, "k": 128}) for t in ("bf16", "fp32", "int8")),
    Probe(
        kind="experts", op="grouped-gemm", dtype="bf16",
        shape={"tokens": 16, "experts": 8, "top_k": 2, "hidden": 64, "intermediate": 32},
    ),
    Probe(
        kind="attention", op="prefill", dtype="bf16",
        shape={"sequences": 2, "tokens": 16, "heads": 8, "kv_heads": 2, "head_dim": 32},
    ),
    Probe(
        kind="attention", op="latent-prefill", dtype="bf16",
        shape={"sequences": 2, "tokens": 16, "heads": 4, "latent": 64, "head_dim": 32},
    ),
    Probe(
        kind="attention", op="latent-decode", dtype="bf16",
        shape={"sequences": 2, "context_tokens": 16, "heads": 4, "latent": 64, "head_dim": 32},
    ),
    Probe(
        kind="attention", op="decode", dtype="bf16",
        shape={"sequences": 2, "context_tokens": 16, "heads": 8, "kv_heads": 2, "head_dim": 32},
    ),
    Probe(kind="launch", op="eager-kernel", dtype=""),
    Probe(kind="copy", op="host-to-device", dtype="", shape={"bytes": 2**20}),
    Probe(kind="copy", op="device-to-host", dtype="", shape={"bytes": 2**20}),
]  # fmt: skip


@pytest.mark.parametrize("probe", SMALL, ids=str)
def test_every_kind_of_probe_runs(bench: Bench, probe: Probe) -> None:
    prepared = prepare_kernel(bench, probe)
    assert all(second > 0 for second in bench.times_s(prepared.run, 3, flush=True))
    assert prepared.kernel


def test_a_processor_has_no_recorded_graphs(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="no recorded graphs"):
        prepare_kernel(bench, Probe(kind="launch", op="graph-kernel", dtype=""))


def test_random_numbers_differ_from_row_to_row(bench: Bench) -> None:
    made = bench.filled(64, 4096, dtype="fp32")
    assert len({float(row[0]) for row in made}) == 64
    assert 0.2 < float(made.std()) < 1


def test_a_grouped_product_is_one_product_after_the_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = grouped_rows(bench, 40, 8, 2)
    assert int(counts.sum()) == 80
    rows, weights = bench.filled(80, 64), bench.filled(8, 32, 64)
    grouped, name = grouped_product(bench, counts)
    at_once = grouped(rows, weights)
    monkeypatch.setattr(torch.nn.functional, "grouped_mm", None, raising=False)
    monkeypatch.setattr(torch, "_grouped_mm", None, raising=False)
    loop, other = grouped_product(bench, counts)
    assert (name, other) == ("grouped_mm", "loop of mm")
    torch.testing.assert_close(at_once, loop(rows, weights), rtol=0.05, atol=0.05)


def test_attention_over_a_latent_is_attention_with_one_key_head(bench: Bench) -> None:
    query, cache = bench.filled(2, 4, 48, dtype="fp32"), bench.filled(2, 16, 48, dtype="fp32")
    key = cache.unsqueeze(1)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.unsqueeze(2), key.expand(-1, 4, -1, -1), key[..., :32].expand(-1, 4, -1, -1), scale=1.0
    )
    torch.testing.assert_close(latent_attention(bench, query, cache, 32), expected.squeeze(2))


def _model(layer: Layer) -> ModelSpec:
    table = replicated("embed", "embedding", 64, 100)
    return ModelSpec(
        name="tiny", architecture="tiny", hidden=64, vocabulary=100, max_context_tokens=100, layers=(layer, layer),
        embedding=table, head=None, final_norm=(),
    )  # fmt: skip


def _norms(name: str, width: int, count: int = 1) -> Any:
    return vector(name, "norm", whole(width)) if count == 1 else _stacked(name, width, count)


def _stacked(name: str, width: int, count: int) -> Any:
    from dataclasses import replace

    return replace(vector(name, "norm", whole(width)), matrices=count)


DENSE = _model(
    Layer(
        mixer=Attention(heads=4, kv_heads=2, head_dim=16, v_head_dim=16),
        mlp=DenseMlp(intermediate=96),
        tensors=(
            column_parallel("self_attn.qkv_proj", "attention", 64, heads(4, 16), heads(2, 16), heads(2, 16)),
            row_parallel("self_attn.o_proj", "attention", heads(4, 16), 64),
            _norms("self_attn.qk_norm", 16, 2),
            column_parallel("mlp.gate_up_proj", "mlp", 64, split(96), split(96)),
            row_parallel("mlp.down_proj", "mlp", split(96), 64),
            _norms("norms", 64, 2),
        ),
    )
)
LATENT = _model(
    Layer(
        mixer=LatentAttention(
            heads=4, q_lora_rank=32, kv_lora_rank=48, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16
        ),
        mlp=MoeMlp(experts=8, top_k=2, intermediate=32, shared_intermediate=32),
        tensors=(
            column_parallel("self_attn.fused_qkv_a_proj", "attention", 64, whole(32), whole(56)),
            _norms("self_attn.q_a_layernorm", 32),
            column_parallel("self_attn.q_b_proj", "attention", 32, heads(4, 24)),
            _norms("self_attn.kv_a_layernorm", 48),
            column_parallel("self_attn.kv_b_proj", "attention", 48, heads(4, 32)),
            row_parallel("self_attn.o_proj", "attention", heads(4, 16), 64),
            replicated("mlp.gate", "router", 64, 8),
            column_parallel("mlp.experts.w13", "routed-experts", 64, split(32), split(32), matrices=8),
            row_parallel("mlp.experts.w2", "routed-experts", split(32), 64, matrices=8),
            column_parallel("mlp.shared_experts.gate_up_proj", "shared-experts", 64, split(32), split(32)),
            row_parallel("mlp.shared_experts.down_proj", "shared-experts", split(32), 64),
            _norms("norms", 64, 2),
        ),
    )
)


@pytest.mark.parametrize("model", [DENSE, LATENT], ids=["dense", "latent"])
@pytest.mark.parametrize(
    "shape", [StepShape(sequences=3, tokens=1, context_tokens=20), StepShape(sequences=2, tokens=12, context_tokens=0)]
)
def test_layers_run_and_hold_what_the_model_says(bench: Bench, model: ModelSpec, shape: StepShape) -> None:
    stack = LayerStack(bench, model, "bf16")
    assert stack.parameters == sum(layer.parameters for layer in model.layers)
    out: Any = stack.step(shape)()
    assert tuple(out.shape) == (shape.rows, model.hidden)
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", LAYERED)
def test_real_models_are_built_of_names_the_layers_know(bench: Bench, name: str) -> None:
    """A model's own layer, cut to its narrowest, would take gigabytes: its tensors' names are compared instead."""
    known = {t.name for model in (DENSE, LATENT) for t in model.layers[0].tensors}
    layer = cut_model(read_model(name), 1).layers[0]
    assert {tensor.name for tensor in layer.tensors} <= known


def test_absorbed_and_expanded_latent_attention_agree(bench: Bench) -> None:
    """The last row of a prompt sees the same keys whether they are expanded or queries are moved to the latents."""
    from sizewell.observer.measure.mixers import mixer_of

    layer = LATENT.layers[0]
    weights = LayerStack(bench, LATENT, "fp32").weights[0]
    rows = bench.filled(6, 64, dtype="fp32")
    prefill: Any = mixer_of(bench, layer.mixer, weights, StepShape(sequences=1, tokens=6, context_tokens=0))
    decode: Any = mixer_of(bench, layer.mixer, weights, StepShape(sequences=1, tokens=1, context_tokens=6))
    latents = (rows @ weights["self_attn.fused_qkv_a_proj"].t())[:, 32:]
    normed = torch.nn.functional.rms_norm(latents[:, :48], (48,), weights["self_attn.kv_a_layernorm"])
    decode.cache = torch.cat([normed, latents[:, 48:]], dim=-1).unsqueeze(0)
    torch.testing.assert_close(decode(rows[5:])[0], prefill(rows)[5], rtol=1e-3, atol=1e-3)


def test_all_reduces_run_in_processes_of_their_own() -> None:
    times = all_reduces(torch, 2, [2**12, 2**16], "gloo")
    assert set(times) == {2**12, 2**16}
    assert all(second > 0 for found in times.values() for second in found)


def test_a_failing_rank_is_one_line() -> None:
    with pytest.raises(RuntimeError, match="a rank failed"):
        all_reduces(torch, 2, [2**12], "no-such-backend")


def _run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MEASURE, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def test_the_command_measures_this_machine(tmp_path: Path) -> None:
    kinds = "memory,attention,launch"
    done = _run("--quick", "--only", kinds, "--seconds", "120", "--out", "f.csv", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    figures = read_figures(tmp_path / "f.csv")
    assert len(figures) == len(document["figures"]) > 5
    assert {figure.probe.kind for figure in figures} == {"memory", "attention", "launch"}
    assert all(row["predicted_s"] is None for row in document["figures"]), "a machine without rates predicts nothing"


def test_ctrl_c_leaves_a_whole_file(tmp_path: Path) -> None:
    command = [*MEASURE, "--only", "memory,gemm", "--seconds", "600", "--out", "f.csv"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.match(r"memory: \d+ of 15 shapes in", line):
                break
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "(partial)" in out
    assert all(figure.partial for figure in read_figures(tmp_path / "f.csv"))
    assert os.listdir(tmp_path) == ["f.csv"]


class _Event:
    """Stands in for an event of a GPU: the host's clock, as work here is done when the call returns."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: _Event) -> float:
        return (end.at - self.at) * 1e3


class _Graph:
    def replay(self) -> None:
        return


class _Block:
    def __init__(self, *_: object) -> None:
        return

    def __enter__(self) -> _Block:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def wait_stream(self, _: object) -> None:
        return


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return the bench of a GPU whose every call is stood in for by the processor."""
    facts = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, L2_cache_size=2**20, is_integrated=0)
    calls = {
        "is_available": lambda: True, "get_device_properties": lambda _: facts, "device_count": lambda: 1,
        "mem_get_info": lambda _: (2**31, 2**31), "synchronize": lambda: None, "empty_cache": lambda: None,
        "Event": _Event, "CUDAGraph": _Graph, "graph": _Block, "Stream": _Block, "stream": _Block,
        "current_stream": _Block, "_sleep": lambda _: None,
    }  # fmt: skip
    for name, call in calls.items():
        monkeypatch.setattr(torch.cuda, name, call, raising=False)
    made = open_bench(torch, find_device(torch))
    made.place = "cpu"
    monkeypatch.setattr(torch, "empty", _unpinned(torch.empty))
    return made


def _unpinned(empty: Any) -> Any:
    def made(*shape: Any, pin_memory: bool = False, **more: Any) -> Any:
        return empty(*shape, **more)

    return made


def test_the_path_of_a_gpu_runs_to_its_end(stand_in: Bench) -> None:
    """Not what a GPU reaches, only that every call is made as PyTorch takes it."""
    types, _ = tried_types(stand_in)
    assert set(types) >= {"fp32", "bf16"}
    occasion = Occasion(machine="h200", versions="", command="", date="", seconds=3600.0)
    said: list[str] = []
    graphs = [Probe(kind="launch", op=op, dtype="") for op in ("graph-kernel", "graph-replay")]
    result = Session(stand_in, {}, occasion, said.append).measure([*SMALL[:-3], *graphs, *SMALL[-3:]])
    assert result.left_out == (), said
    assert len(result.figures) == len(SMALL) + 2
    assert "recorded graph" in next(f.kernel for f in result.figures if f.probe.op == "graph-kernel")


def test_the_fastest_attention_is_chosen_once_and_is_attention(stand_in: Bench) -> None:
    query, key, value = (stand_in.filled(2, heads, 8, 32, dtype="fp32") for heads in (4, 2, 2))
    attend = FastestAttention(stand_in, causal=True, grouped=True)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    for _ in range(2):
        torch.testing.assert_close(attend(query, key, value), expected)
    assert attend.name.startswith("scaled_dot_product_attention, ")
