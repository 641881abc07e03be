"""An exception nobody has read before: what it is about follows from the code that raised it, and from when."""

from __future__ import annotations

import pytest

from observer.engine_logs import read_engine_log
from sizewell.observer.standing import judge
from sizewell.specs.standing import Failure, HttpFacts, JobFacts

BANNER = "(APIServer pid=1) INFO 06-01 13:17:01 [utils.py:299] vLLM API server version 0.33.0"
LOADING = "(EngineCore pid=2) INFO 06-01 13:17:09 [gpu_model_runner.py:1] Starting to load model m..."
DIED = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above."
OPENS = "Traceback (most recent call last):"
PACKAGES = "/opt/venv/lib/python3.12/site-packages/"


def frame(place: str, function: str = "f", statement: str = "x()") -> list[str]:
    return [f'  File "{PACKAGES}{place}", line 9, in {function}', f"    {statement}"]


def said_by(speaker: str, lines: list[str]) -> list[str]:
    return [f"({speaker} pid=9) ERROR 06-01 13:18:12 [core.py:1] {line}" for line in lines]


def failure_of(*lines: str) -> Failure | None:
    return read_engine_log(lines).failure


@pytest.mark.parametrize(
    ("place", "function", "exception", "cause"),
    [
        ("vllm/config/moon.py", "__post_init__", "ValueError: it is full", "bad-flag"),
        ("vllm/platforms/cuda.py", "f", "NotImplementedError: not on the moon", "bad-flag"),
        ("vllm/lora/peft_helper.py", "validate", "ValueError: rank 64 is greater than 16", "bad-flag"),
        ("sglang/srt/layers/quantization/w9.py", "f", "ValueError: nine bits", "bad-flag"),
        ("vllm/model_executor/layers/rotary.py", "get_rope", "ValueError: Unknown type moon", "bad-flag"),
        ("sglang/srt/models/new.py", "__init__", "NotImplementedError: moon", "bad-flag"),
        ("sglang/srt/models/new.py", "forward", "ValueError: moon", "engine-death"),
        ("vllm/_custom_ops.py", "scaled_mm", "RuntimeError: Error Internal", "bad-flag"),
        ("flashinfer/jit/moe.py", "f", "AssertionError: Enums.h not found", "bad-flag"),
        ("vllm/model_executor/models/new.py", "load_weights", "KeyError: 'visual.moon'", "missing-file"),
        ("vllm/model_executor/layers/moe.py", "_load_w13", "RuntimeError: The size of tensor a (3)", "missing-file"),
        ("vllm/model_executor/layers/q.py", "process_weights_after_loading", "RuntimeError: moon", "engine-death"),
        ("vllm/v1/core/moon.py", "f", "ValueError: it is full", "engine-death"),
        ("vllm/config/moon.py", "f", "RuntimeError: it is full", "engine-death"),
    ],
)
def test_where_an_exception_was_raised_says_what_it_is_about(
    place: str, function: str, exception: str, cause: str
) -> None:
    lines = said_by("Worker_TP0", [OPENS, *frame("vllm/v1/a.py"), *frame(place, function), exception])
    failure = failure_of(BANNER, LOADING, *lines, DIED)
    assert failure is not None and failure.cause == cause
    assert failure.evidence[0] == lines[-1] and not failure.survivable


def test_libraries_below_the_engine_do_not_hide_whose_code_it_is() -> None:
    below = frame("torch/_ops.py", "__call__")
    failure = failure_of(BANNER, LOADING, OPENS, *frame("vllm/_custom_ops.py"), *below, "RuntimeError: Error", DIED)
    assert failure is not None and failure.cause == "bad-flag"


def test_an_environment_named_like_an_engine_is_not_its_code() -> None:
    elsewhere = '  File "/home/u/envs/flashinfer/lib/python3.12/site-packages/torch/a.py", line 9, in f'
    failure = failure_of(BANNER, LOADING, OPENS, elsewhere, "RuntimeError: the moon is full", DIED)
    assert failure is not None and failure.cause == "engine-death"


def test_tracebacks_of_several_processes_may_be_mixed() -> None:
    guilty = said_by("Worker_TP3", [OPENS, *frame("vllm/model_executor/layers/moe.py", "_load_w13"), "RuntimeError: 3"])
    other = said_by("Worker_TP0", [OPENS, *frame("vllm/v1/worker/gpu.py"), *frame("vllm/v1/worker/b.py")])
    mixed = [line for pair in zip(guilty, other, strict=False) for line in pair]
    failure = failure_of(BANNER, LOADING, *mixed, DIED)
    assert failure is not None and failure.cause == "missing-file"


@pytest.mark.parametrize("kind", ["ValueError", "NotImplementedError"])
def test_before_weights_are_read_a_refusal_is_about_what_was_asked_for(kind: str) -> None:
    line = f"(APIServer pid=1) {kind}: draft_size=4 cannot be other than 1"
    running, ended = JobFacts(stage="running"), JobFacts(stage="ended", exit_code=1)
    early, late = read_engine_log([BANNER, line]), read_engine_log([BANNER, LOADING, line])
    assert judge(running, early, HttpFacts()).stage == "LOADING", "nothing says that it was fatal"
    stopped = judge(ended, early, HttpFacts()).failure
    assert stopped is not None and (stopped.cause, stopped.evidence) == ("bad-flag", (line,))
    assert late.failure is not None and late.failure.cause == "unknown"


def test_a_known_reason_is_nearer_than_a_likely_one() -> None:
    lines = said_by("EngineCore", [OPENS, *frame("vllm/config/moon.py"), "ValueError: it is full"])
    full = said_by("EngineCore", ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"])
    failure = failure_of(BANNER, LOADING, *lines, *full, DIED)
    assert failure is not None and failure.cause == "out-of-memory"


def test_what_a_start_survived_is_no_guess_about_its_death() -> None:
    lines = [OPENS, *frame("vllm/config/moon.py"), "ValueError: it is full"]
    serving = "(APIServer pid=1) INFO:     Application startup complete."
    fatal = "(EngineCore pid=2) ERROR 06-01 14:00:00 [core.py:1] EngineCore encountered a fatal error."
    failure = failure_of(BANNER, *lines, serving, *lines, fatal)
    assert failure is not None and failure.cause == "engine-death"


def test_an_assertion_without_a_word_is_told_by_its_statement() -> None:
    asserts = frame("sglang/srt/layers/moe/a.py", "__init__", "assert self.num_experts % self.tp_size == 0")
    carets = "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"
    failure = failure_of(BANNER, LOADING, OPENS, *asserts, carets, "AssertionError", DIED)
    assert failure is not None and (failure.cause, failure.evidence) == ("bad-flag", (asserts[1],))


def test_an_exception_whose_words_begin_on_the_next_line_is_read_on() -> None:
    words = "        An attempt has been made to start a new process before the moon is full."
    failure = failure_of(BANNER, LOADING, OPENS, *frame("torch/a.py"), "RuntimeError: ", words, DIED)
    assert failure is not None and words in failure.evidence


def test_a_quoted_statement_accuses_nobody() -> None:
    quoted = frame("torch/a.py", "f", 'raise ValueError("Unknown quantization method: moon")')
    assert failure_of(BANNER, OPENS, *quoted) is None


@pytest.mark.parametrize(
    "around",
    [
        "2025-07-17 11:38:23.67774  >> {}", "2025-06-01 06:42:29.680 | {}", "2025-06-01 06:42:29 {}",
        "Thu Jan 23 11:55:50 2025[1,1]<stderr>:{}", "[1,0]<stdout>:{}",
    ],
)  # fmt: skip
def test_what_collectors_and_launchers_put_before_a_line_hides_nothing(around: str) -> None:
    lines = [BANNER, "(Worker_TP0 pid=9) ERROR 06-01 13:18:12 [core.py:1] torch.OutOfMemoryError: CUDA out of memory."]
    facts = read_engine_log(around.format(line) for line in lines)
    assert facts.engine == "vllm" and facts.failure is not None and facts.failure.cause == "out-of-memory"


def test_a_log_format_of_ones_own_is_read() -> None:
    line = "2024-12-19 21:40:35 ERROR 56542 [async_llm_engine.py:64] RuntimeError: the moon is full"
    failure = failure_of(BANNER, LOADING, line)
    assert failure is not None and failure.evidence == (line,)


ENDS = JobFacts(stage="ended", exit_code=0)
SERVED = "INFO:     Application startup complete."


@pytest.mark.parametrize(
    "lines",
    [
        (BANNER, SERVED, "ERROR 12-01 13:05:02 client.py:282] RuntimeError('Engine process (pid 76) died.')"),
        (BANNER, SERVED, "CRITICAL 12-01 13:05:02 launcher.py:99] MQLLMEngine is already dead, terminating server"),
        (BANNER, SERVED, "LLVM ERROR: Failed to compute parent layout for slice layout."),
        (BANNER, SERVED, "/s/stl_vector.h:12: constexpr reference operator[]: Assertion '__n < this->size()' failed."),
        (BANNER, LOADING),
    ],
)
def test_a_web_server_that_shuts_down_by_itself_was_not_stopped(lines: tuple[str, ...]) -> None:
    closing = ("INFO:     Shutting down", "INFO:     Application shutdown complete.")
    assert judge(ENDS, read_engine_log([*lines, *closing]), HttpFacts()).stage == "FAILED"


def test_one_that_was_asked_to_has_ended() -> None:
    assert judge(ENDS, read_engine_log([BANNER, SERVED, "INFO:     Shutting down"]), HttpFacts()).stage == "ENDED"


def test_llama_cpp_cleans_up_after_a_start_that_failed_too() -> None:
    failed = ["main: build_info: b9000", "srv    operator(): operator(): cleaning up before exit..."]
    served = [failed[0], "main: server is listening on http://127.0.0.1:8080", failed[1]]
    assert judge(ENDS, read_engine_log(failed), HttpFacts()).stage == "FAILED"
    assert judge(ENDS, read_engine_log(served), HttpFacts()).stage == "ENDED"


def test_a_request_that_quotes_a_crash_is_none() -> None:
    quoted = 'ERROR 02-03 11:00:00 [serving_chat.py:885] ValueError: "{}" is bad'
    for crash in ("Segmentation fault (core dumped)", "GGML_ASSERT(x) failed", "LLVM ERROR: x", "CRITICAL 12-01 x"):
        assert failure_of(BANNER, SERVED, quoted.format(crash)) is None
