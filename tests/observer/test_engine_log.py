"""The log of an engine tells how far its start came, its figures, and why it failed: on a corpus of logs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observer.engine_logs import Sample, read_engine_log, samples
from sizewell.observer.logs.engine_log import EngineLog
from sizewell.observer.standing import judge
from sizewell.specs.standing import HttpFacts, JobFacts

GIB = 2**30
FIGURES = {
    "weights_gib": ("weights_bytes", GIB), "kv_gib": ("kv_cache_bytes", GIB), "kv_tokens": ("kv_cache_tokens", 1),
    "concurrency": ("max_concurrency", 1), "graphs_gib": ("graphs_bytes", GIB), "load_s": ("load_s", 1),
    "seconds_left": ("remaining_s", 1),
}  # fmt: skip
EVERY, HEALTHY, FAILED = samples(), samples("healthy"), samples("failed")
SCARY = (
    "Error", "ERROR", "failed to", "Exception in", "Traceback (most recent call last):", "out of memory", "Killed",
    "CUDA out of memory. Tried to allocate 2.00 GiB", "torch.OutOfMemoryError: CUDA out of memory",
    "OSError: [Errno 98] Address already in use", "FileNotFoundError: [Errno 2] No such file or directory: '/x'",
    "EngineCore encountered a fatal error.", "Engine core initialization failed.", "No space left on device",
    "GatedRepoError", "unrecognized arguments: --x", "NCCL error: unhandled system error", "DUE TO TIME LIMIT",
    "oom_kill", "error while attempting to bind on address", "Segmentation fault",
)  # fmt: skip


def named(sample: Sample) -> str:
    return sample.name


@pytest.mark.parametrize("sample", EVERY, ids=named)
def test_a_log_says_what_a_reader_finds_in_it(sample: Sample) -> None:
    facts = read_engine_log(sample.text.splitlines(keepends=True))

    assert (facts.failure.cause if facts.failure else None) == sample.cause
    for field in ("engine", "version", "stage"):
        if field in sample.expected:
            assert getattr(facts, field) == sample.expected[field]
    for name, (field, factor) in FIGURES.items():
        if name in sample.expected:
            assert getattr(facts, field) == pytest.approx(sample.expected[name] * factor, rel=1e-4), name
        elif sample.cause is None and name != "seconds_left":
            assert getattr(facts, field) is None, f"{name} is not in the log"


@pytest.mark.parametrize("sample", FAILED, ids=named)
def test_evidence_is_lines_of_the_log_and_comes_with_advice(sample: Sample) -> None:
    failure = read_engine_log(sample.text.splitlines()).failure

    assert failure is not None
    lines = set(sample.text.replace("\r", "\n").splitlines())
    assert failure.evidence
    assert set(failure.evidence) <= lines
    assert sample.expected.get("evidence", "") in failure.evidence[0]
    assert failure.advice


def test_the_corpus_is_as_wide_as_promised() -> None:
    assert len(HEALTHY) >= 15
    assert len(FAILED) >= 20
    causes = {sample.cause for sample in FAILED}
    assert causes >= {
        "out-of-memory", "no-kv-memory", "host-memory", "port-taken", "missing-file", "gated-model", "no-such-model",
        "bad-flag", "interface", "node-missing", "walltime", "disk-full", "driver", "engine-death", "unknown",
    }  # fmt: skip


@given(sample=st.sampled_from(EVERY), cuts=st.lists(st.integers(0, 12_000), max_size=30))
@settings(max_examples=100, deadline=None)
def test_feeding_piecemeal_changes_nothing(sample: Sample, cuts: list[int]) -> None:
    edges = sorted({0, len(sample.text), *(cut for cut in cuts if cut < len(sample.text))})
    pieces, lines = EngineLog(), EngineLog()
    for start, end in pairwise(edges):
        pieces.feed_text(sample.text[start:end])
    pieces.feed_text("\n")
    whole = sample.text.split("\n")
    middle = len(whole) // 2
    lines.feed(whole[:middle])
    lines.facts()
    lines.feed(line + "\n" for line in whole[middle:])

    assert pieces.facts() == lines.facts() == read_engine_log([sample.text])


@given(
    sample=st.sampled_from(HEALTHY), at=st.floats(0, 1), word=st.sampled_from(SCARY), node=st.sampled_from(["", "1: "]),
    level=st.sampled_from([
        "INFO 11-20 07:00:30 [x.py:1] {}", "WARNING 11-20 07:00:30 [x.py:1] {}", "INFO:     {}",
        "(Worker_TP0 pid=8) WARNING 01-08 17:51:20 utils.py:2] {}", "[W1011 08:00:14.332 s.cpp:7] {}",
        "/opt/a.py:3: UserWarning: {}", "n1:8:8 [0] NCCL INFO {}", "0.00.300.000 W load: {}",
    ]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_scary_words_at_a_harmless_level_harm_nobody(
    sample: Sample, at: float, word: str, node: str, level: str
) -> None:
    lines = sample.text.split("\n")
    place = int(at * len(lines))
    frightened = [*lines[:place], node + level.format(word), *lines[place:]]

    assert read_engine_log(frightened) == read_engine_log(lines)


@pytest.mark.parametrize("sample", [s for s in HEALTHY if "restarted" not in s.name], ids=named)
def test_no_moment_of_a_healthy_log_is_called_a_failure(sample: Sample) -> None:
    log, job = EngineLog(), JobFacts(stage="running")
    for line in sample.text.split("\n"):
        log.feed([line])
        assert judge(job, log.facts(), HttpFacts()).stage != "FAILED", line


def test_a_restart_is_read_from_its_beginning() -> None:
    sample = next(s for s in HEALTHY if "restarted" in s.name)
    log, causes = EngineLog(), []
    for line in sample.text.split("\n"):
        log.feed([line])
        failure = log.facts().failure
        causes.append(failure.cause if failure else None)

    first_good = sample.text.split("\n").index(next(x for x in sample.text.split("\n") if "10:01:00 [api" in x))
    assert "out-of-memory" in causes[:first_good]
    assert not any(causes[first_good:])


def test_the_pace_of_loading_needs_the_size_of_the_checkpoint() -> None:
    sample = next(s for s in HEALTHY if s.name.endswith("0.9-loading"))
    lines = sample.text.split("\n")

    assert read_engine_log(lines).load_bytes_per_s is None
    told = read_engine_log(lines, checkpoint_bytes=121e9)
    assert told.loaded_fraction == pytest.approx(20 / 30)
    assert told.load_bytes_per_s == pytest.approx(121e9 * 20 / 30 / 121.0)


@given(files=st.integers(5, 200), pace=st.floats(1.0, 90.0), cached=st.floats(0, 0.09), at=st.floats(0.2, 0.99))
@settings(max_examples=100, deadline=None)
def test_the_time_left_is_right_within_a_quarter_from_a_fifth_on(
    files: int, pace: float, cached: float, at: float
) -> None:
    """Files at a steady pace after the first, which the host still had in memory; clocks show whole seconds."""
    free = int(files * cached)
    took = [0.0 if n <= free else (n - free) * pace for n in range(files + 1)]
    done = max(int(files * at), 1)
    log = EngineLog()
    for n in range(done + 1):
        minutes, seconds = divmod(int(took[n]), 60)
        log.feed(
            [f"Loading safetensors checkpoint shards: 1% Completed | {n}/{files} [{minutes:02d}:{seconds:02d}<?, x]"]
        )
    left = took[files] - took[done]

    if done / files >= 0.2 and done - free >= 1:
        assert log.facts().remaining_s == pytest.approx(left, rel=0.25, abs=2.0 * files / done)


DIED = "ERROR 05-06 21:20:00 [core.py:1] EngineCore encountered a fatal error."
STARTED = "INFO 05-06 20:59:10 [core.py:105] Initializing a V1 LLM engine (v0.20.2) with config: model='m'"


def cause_of(*lines: str) -> str | None:
    failure = read_engine_log(lines).failure
    return failure.cause if failure else None


def test_what_did_no_harm_at_the_start_is_no_reason_to_die_later() -> None:
    survived = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"

    assert cause_of(STARTED, survived) == "out-of-memory"
    assert cause_of(STARTED, survived, "INFO:     Application startup complete.", DIED) == "engine-death"


def test_a_late_node_does_not_make_a_failure_forgotten() -> None:
    banner = "INFO 05-06 20:59:01 [api_server.py:1] vLLM API server version 0.20.2"
    full = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"

    assert cause_of(f"0: {banner}", f"0: {full}", f"1: {banner}") == "out-of-memory"
    assert cause_of(f"0: {banner}", f"0: {full}", f"0: {banner}") is None, "the same node starts again"


def test_settings_an_engine_repeats_accuse_nobody() -> None:
    settings_line = (
        "[2025-11-10 19:59:00] server_args=ServerArgs(model_path='/data/std::bad_alloc', trust_remote_code=True)"
    )

    assert cause_of(settings_line) is None


def test_compiling_is_no_longer_loading() -> None:
    line = "(Worker pid=1) INFO 11-29 21:29:38 [cpu_model_runner.py:87] Warming up model for the compilation..."

    assert read_engine_log([STARTED, line]).stage == "warming"


def test_a_draft_model_is_another_load() -> None:
    shards = "Loading safetensors checkpoint shards:"
    bars = ("100% Completed | 4/4 [00:40<00:00, 10s/it]", "0% Completed | 0/16 [00:00<?, ?it/s]",
            "50% Completed | 8/16 [00:24<00:24, 3s/it]")  # fmt: skip
    facts = read_engine_log(f"{shards} {bar}" for bar in bars)

    assert facts.loaded_fraction == pytest.approx(0.5)
    assert facts.remaining_s == pytest.approx(24.0)


@pytest.mark.parametrize("node", ["", "-gpu1"])
@pytest.mark.parametrize(
    ("why", "cause", "stage"),
    [
        ("", None, "ended"),
        (" DUE TO JOB REQUEUE", None, "ended"),
        (" DUE TO TIME LIMIT", "walltime", "serving"),
        (" DUE TO PREEMPTION", "cancelled", "serving"),
        (" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS", "node-missing", "serving"),
    ],
)
def test_the_scheduler_says_why_a_job_ends(node: str, why: str, cause: str | None, stage: str) -> None:
    end = f"slurmstepd{node}: error: *** JOB 12 ON n1 CANCELLED AT 2026-10-11T08:10:00{why} ***"
    facts = read_engine_log([STARTED, "INFO:     Application startup complete.", end])

    assert (facts.failure.cause if facts.failure else None) == cause
    assert facts.stage == stage


def test_a_log_without_line_ends_does_not_fill_the_memory() -> None:
    log = EngineLog()
    for _ in range(40):
        log.feed_text("x" * 100_000)

    assert len(log._partial) < 2**20


def test_a_late_llama_cpp_says_its_stages_in_other_words() -> None:
    log, stages = EngineLog(), []
    for line in (
        "0.00.071.310 I cmn  common_param: common_params_print_info: build 9976 (abc) with GNU 13 for Linux",
        "0.00.075.674 I srv    load_model: loading model '/m.gguf'",
        "0.01.030.409 I srv  llama_server: model loaded",
        "0.01.030.413 I srv  llama_server: listening on http://127.0.0.1:9911",
        "2.34.315.709 I srv    operator(): operator(): cleaning up before exit...",
    ):
        log.feed([line])
        stages.append(log.facts().stage)

    assert stages == ["started", "loading", "warming", "serving", "ended"]
    assert (log.facts().engine, log.facts().version) == ("llama.cpp", "9976")


def test_a_late_llama_cpp_that_is_quiet_about_its_build_starts_too() -> None:
    line = "0.00.071.310 I cmn  common_param: common_params_print_info: verbosity = 3 (adjust with the `-lv N` CLI arg)"

    assert read_engine_log([line]).stage == "started"


@pytest.mark.parametrize(("said", "tokens"), [("4/1 seqs", 4096), ("4/4 seqs", 16384), (" 4/ 4 seqs", 16384)])
def test_a_cache_of_each_sequence_counts_for_all_of_them(said: str, tokens: int) -> None:
    loads = "llama_model_loader: loaded meta data with 29 key-value pairs"
    line = f"llama_kv_cache_unified: size = 512.00 MiB (  4096 cells,  32 layers, {said}), K (f16): 256.00 MiB"

    assert read_engine_log([loads, line]).kv_cache_tokens == tokens
