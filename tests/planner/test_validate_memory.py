"""Every logged figure is answered or refused with a reason, and the answers meet their bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.measurements import read_memory_rows
from sizewell.catalog.memory_logs import predict_memory_rows
from sizewell.catalog.models import read_model
from sizewell.planner.logged_format import logged_formats
from sizewell.planner.logged_settings import LoggedSetup
from sizewell.planner.memory_bars import CAPACITY_METRICS, diagnosis_bar, memory_bars
from sizewell.planner.validate_memory import MemoryPrediction, predict_log
from sizewell.specs.deployment import Parallelism
from sizewell.specs.memory_row import MemoryRow

TABLE = Path(__file__).parents[2].parent / "shared" / "data" / "memory-dev.csv"
ROW = MemoryRow(
    point_id="a", thread="t", engine="vllm", version="0.19.1", model="meta-llama/Llama-3.1-8B-Instruct",
    weight_format="bf16", kv_format="auto", gpu="H100-80GB", memory_gib=79.19, cut=Parallelism(), memory_fraction=0.95,
    max_model_len_tokens=16000, max_num_batched_tokens=8192, max_num_seqs=1024, enforce_eager=False, metric="kv_gib",
    value=58.11, notes="",
)  # fmt: skip


def _facts(version: str = "0.19.1", gpu: str | None = "h100-sxm-80gb") -> LoggedSetup:
    return LoggedSetup(
        model=read_model(ROW.model), gpu=read_gpu(gpu) if gpu else None, engine=read_engine("vllm", version)
    )


def test_a_stated_start_up_is_predicted_within_one_percent() -> None:
    (answer,) = predict_log([ROW], _facts())
    assert answer.error_fraction == pytest.approx(0, abs=0.01)
    assert answer.low is not None and answer.high is not None and answer.predicted is not None
    assert answer.low <= answer.predicted <= answer.high
    assert answer.states_settings


def test_an_unknown_accelerator_is_answered_from_the_logs_own_cache() -> None:
    room = replace(ROW, gpu="", memory_gib=None)
    tokens = replace(room, metric="kv_tokens", value=476_016)
    (refused,) = predict_log([room], _facts(gpu=None))
    assert refused.predicted is None
    assert "accelerator" in refused.reason
    _, answered, per_token = predict_log([room, tokens], _facts(gpu=None))
    assert answered.basis == "log"
    assert answered.error_fraction == pytest.approx(0, abs=1e-3)
    assert (per_token.metric, per_token.predicted) == ("kv_bytes_per_token", 131_072)


def test_what_was_left_after_loading_stands_in_for_the_accelerator() -> None:
    """A published log of Mistral-7B on a 24 GB card: 56,524 tokens."""
    row = replace(
        ROW, engine="sglang", gpu="24GB class", memory_gib=None, memory_fraction=None, max_model_len_tokens=32_768,
        metric="kv_tokens", value=56_524, notes="avail 9.69 GB after load, 2.44 after pool",
    )  # fmt: skip
    facts = LoggedSetup(model=read_model("mistralai/Mistral-7B-v0.1"), gpu=None, engine=read_engine("sglang", "0.4.0"))
    (answer,) = predict_log([row], facts)
    assert answer.error_fraction == pytest.approx(0, abs=0.01)


def test_a_log_gives_two_decimals_of_gib_and_whole_blocks() -> None:
    assert replace(ROW, value=58.11).rounding == pytest.approx(0.005)
    assert replace(ROW, value=7.5).rounding == pytest.approx(0.005), "a trailing zero is lost in a table"
    assert replace(ROW, value=14.9595).rounding == pytest.approx(0.00005)
    assert replace(ROW, metric="gpu_blocks", value=5691).rounding == 0.5


def test_a_contradicted_setting_is_said() -> None:
    peak = replace(ROW, metric="activation_peak_gib", value=9.4)
    capacity, _ = predict_log([ROW, peak], _facts())
    assert "activation peak" in capacity.reason
    assert "stated batch limits" in capacity.reason
    assert not capacity.states_settings
    unlimited = [replace(row, max_num_seqs=None, max_num_batched_tokens=None) for row in (ROW, peak)]
    assert "assumed batch limits" in predict_log(unlimited, _facts())[0].reason


def test_a_contradiction_names_the_limit_it_implies_and_by_how_much_a_share_is_exceeded() -> None:
    room = replace(
        ROW, version="0.6.6", memory_gib=39.5, memory_fraction=0.9, max_model_len_tokens=8192,
        max_num_batched_tokens=None, max_num_seqs=None, value=22.0,
    )  # fmt: skip
    peak = replace(room, metric="activation_peak_gib", value=(9.5 * 2048 * 128_256 * 4 + 1.5 * 8192 * 4096 * 2) / 2**30)
    told, _ = predict_log([room, peak], _facts("0.6.6", "a100-sxm-40gb"))
    assert "but that of 2,048 sequences" in told.reason
    assert "weights of 14.99 GiB and the logged cache of 22.00 exceed the stated share of 35.55 by 1.44" in told.reason
    tiny, _ = predict_log([replace(room, value=0.04), peak], _facts("0.6.6", "a100-sxm-40gb"))
    assert "as small as the rounding" in tiny.reason


def test_beside_the_logs_own_peak_a_missing_limit_explains_the_capacity() -> None:
    """A published log of Llama-3-8B on an A100-40: 9.37 GiB of peak that no default gives, 11.12 GiB for the cache."""
    room = replace(
        ROW, version="0.6.6", model="meta-llama/Meta-Llama-3-8B", gpu="A100-40GB", memory_gib=39.5, memory_fraction=0.9,
        max_model_len_tokens=8192, max_num_batched_tokens=None, max_num_seqs=None, value=11.12,
    )  # fmt: skip
    rows = [room, replace(room, metric="activation_peak_gib", value=9.37)]
    facts = replace(_facts("0.6.6", "a100-sxm-40gb"), model=read_model(room.model))
    assert (predict_log(rows, facts)[0].error_fraction or 0) > 0.5
    assert predict_log(rows, facts, logged_peak=True)[0].error_fraction == pytest.approx(0, abs=0.01)


def test_a_logged_peak_tells_that_flashinfer_sampled_and_moves_no_prediction() -> None:
    """A published log of Mistral-Small-3.2 on 0.11.0: 2.12 GiB, less than sorting the logits of 1,024 rows takes."""
    room = replace(
        ROW, version="0.11.0", model="mistralai/Mistral-Small-3.2-24B-Instruct-2506", memory_gib=79.18, value=28.20
    )
    peak = replace(room, metric="activation_peak_gib", value=2.12)
    facts = replace(_facts("0.11.0"), model=read_model(room.model))
    (alone,) = predict_log([room], facts)
    told, _ = predict_log([room, peak], facts)
    assert told.predicted == alone.predicted
    assert told.error_fraction == pytest.approx(-0.1, abs=0.01)
    assert "2.12 GiB is that of FlashInfer's sampler (2.02), not of sorting (5.02)" in told.reason
    assert "sequences" not in told.reason
    image, _ = predict_log([replace(room, notes="docker"), peak], facts)
    assert image.error_fraction == pytest.approx(0, abs=0.01)


def test_the_engines_own_image_samples_with_flashinfer_until_0_11_0() -> None:
    """A published pair of start-ups differs by 1.51 GiB: six copies of 256 rows of 262,144 logits."""
    row = replace(
        ROW, version="0.9.1", model="google/gemma-3-27b-it", max_num_seqs=256, max_num_batched_tokens=2048, value=20.0
    )
    facts = replace(_facts("0.9.1"), model=read_model(row.model))
    (wheel,), (image,) = (
        predict_log([replace(row, notes=notes)], facts) for notes in ("", "docker vllm-openai:v0.9.1")
    )
    assert (image.predicted or 0) - (wheel.predicted or 0) == pytest.approx(1.5, abs=0.02)
    assert not image.reason, "an image is a stated setting"
    later = replace(_facts("0.13.0"), model=read_model(row.model))
    assert predict_log([replace(row, notes="docker")], later)[0].predicted == predict_log([row], later)[0].predicted


@pytest.mark.parametrize(
    ("name", "stated", "expected"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "bf16", "native"),
        ("meta-llama/Llama-3.1-8B-Instruct", "fp8 (online)", "fp8-channel"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "", "bnb-nf4"),
        ("x/Llama-3.1-8B-Instruct-AWQ", "int4", "awq-int4"),
    ],
)
def test_a_format_the_config_does_not_say_is_read_from_the_row(name: str, stated: str, expected: str) -> None:
    row = replace(ROW, model=name, weight_format=stated)
    assert logged_formats(row, read_model(ROW.model)).weight == expected
    quantised = read_model("Qwen/Qwen3-8B-FP8")
    assert logged_formats(row, quantised).weight in {"native", "bnb-nf4"}


def test_the_first_engine_prints_what_each_rank_found() -> None:
    """A published log of R1-Distill-Qwen-14B on two cards: 0.19 GiB of peak and 8.69 GiB on a rank without sampler."""
    room = replace(
        ROW, version="0.7.2", gpu="RTX4090-24GB", memory_gib=23.55, cut=Parallelism(tp=2), memory_fraction=0.98,
        max_model_len_tokens=131_072, max_num_batched_tokens=None, max_num_seqs=None, value=8.69,
    )  # fmt: skip
    peak, tokens = (
        replace(room, metric="activation_peak_gib", value=0.19),
        replace(room, metric="kv_tokens", value=81_536),
    )
    facts = LoggedSetup(
        model=read_model("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"), gpu=read_gpu("rtx-4090-24gb"),
        engine=read_engine("vllm", "0.7.2"),
    )  # fmt: skip
    gib, _, fewest, per_token = predict_log([room, peak, tokens], facts)
    assert gib.error_fraction == pytest.approx(0, abs=0.01)
    assert fewest.error_fraction == pytest.approx(0, abs=0.01)
    assert "fewest of all ranks" in per_token.reason


@pytest.fixture(scope="module")
def answers() -> tuple[MemoryPrediction, ...]:
    if not TABLE.exists():
        pytest.skip("the table of start-up logs is not beside this checkout")
    return predict_memory_rows(read_memory_rows(TABLE))


def test_no_figure_is_dropped(answers: tuple[MemoryPrediction, ...]) -> None:
    asked = {row.point_id for row in read_memory_rows(TABLE)}
    assert {answer.point_id for answer in answers} == asked
    assert all(answer.predicted is not None or answer.reason for answer in answers)


def test_bytes_per_token_agree_within_the_digits_logged(answers: tuple[MemoryPrediction, ...]) -> None:
    for answer in (a for a in answers if a.metric == "kv_bytes_per_token" and "not the" not in a.row.notes):
        assert answer.error_fraction == pytest.approx(0, abs=0.012), answer.row.model


def test_capacity_where_the_settings_are_stated(answers: tuple[MemoryPrediction, ...]) -> None:
    bar = next(b for b in memory_bars(answers) if b.title.endswith("not contradicted by the log"))
    assert bar.median_fraction < 0.03
    assert bar.within[3] >= 0.95 * bar.figures


def test_every_capacity_outside_its_bar_has_a_reason(answers: tuple[MemoryPrediction, ...]) -> None:
    stated = [a for a in answers if a.metric in CAPACITY_METRICS and a.row.engine == "vllm" and a.row.memory_fraction]
    assert all(a.reason for a in stated if abs(a.error_fraction or 0.0) > 0.1)
    bar = diagnosis_bar(predict_memory_rows(read_memory_rows(TABLE), logged_peak=True))
    assert bar.within[3] >= 0.9 * bar.figures


def test_weights_of_published_logs(answers: tuple[MemoryPrediction, ...]) -> None:
    weights = [a for a in answers if a.metric == "weights_gib_per_gpu"]
    errors = [abs(a.error_fraction or 0.0) for a in weights]
    assert sum(error <= 0.01 for error in errors) >= 0.95 * len(weights)
    assert max(errors) <= 0.05
    assert all(a.reason for a in weights if abs(a.error_fraction or 0.0) > 0.01)
