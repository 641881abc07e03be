"""One line of each wording, as engines, schedulers and launchers print it, and the cause it is known by."""

from __future__ import annotations

import pytest

from observer.engine_logs import read_engine_log
from sizewell.observer.standing import judge
from sizewell.specs.standing import HttpFacts, JobFacts

FIRST = {
    "vllm": "INFO 11-29 20:43:09 [api_server.py:1] vLLM API server version 0.33.0",
    "sglang": "[2026-05-09 10:00:00] server_args=ServerArgs(model_path='m')",
}
NOT_THERE = (
    "environment: line 7: vllm: command not found",
    "0: environment: line 4: conda: command not found",
    "environment: line 4: module: command not found",
    "0: sizewell: the engine on node 0 (gpu1) ended with 127",
    "EnvironmentNameNotFound: Could not find conda environment: vllm",
    "CondaError: Run 'conda init' before 'conda activate'",
    'Lmod has detected the following error:  The following module(s) are unknown: "vllm/0.33"',
    "ERROR: Unable to locate a modulefile for 'vllm'",
    "FATAL:   could not open image /img.sif: failed to retrieve path for /img.sif: lstat /img.sif: no such file",
    'FATAL:   "vllm": executable file not found in $PATH',
    "/usr/bin/python3: No module named sglang",
    "bash: /v/bin/vllm: /v/bin/python3: bad interpreter: No such file or directory",
    "/usr/bin/env: 'python3': No such file or directory",
    "ValueError: Failed to import Ray: No module named 'ray'.Please install Ray with `pip install ray`.",
    "Exception: flashinfer_python is installed with version 0.2, which is less than the minimum required version 0.6.",
)
FATAL = (
    ("vllm", "bad-flag", "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_si"),
    ("vllm", "bad-flag", "ValueError: Selected backend FLASH_ATTN is not valid for this configuration."),
    ("vllm", "bad-flag", "ValueError: Unknown attention backend: 'ASCEND'. Valid options are: FLASH_ATTN"),
    ("vllm", "bad-flag", "ValueError: Weight output_partition_size = 1368 is not divisible by weight quantization b"),
    ("vllm", "bad-flag", "ValueError: Weight input_size_per_partition = 1848 is not divisible by min_thread_k = 128."),
    ("vllm", "bad-flag", "ValueError: The input size is not aligned with the quantized weight shape."),
    ("vllm", "bad-flag", "ValueError: Failed to find a kernel that can implement the ScaledMM linear layer."),
    ("vllm", "bad-flag", "ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (300)."),
    ("vllm", "bad-flag", "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (4096)."),
    ("sglang", "bad-flag", "AssertionError: The number of attention heads 40 must be divisible by tp_size 16"),
    ("vllm", "missing-file", "ValueError: Following weights were not initialized from checkpoint: {'a'}"),
    ("vllm", "missing-file", "ValueError: There is no module or parameter named 'a.b' in LlamaForCausalLM."),
    ("vllm", "missing-file", "AssertionError: Attempted to load weight ([4]) into parameter ([2])"),
    ("vllm", "out-of-memory", "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"),
    ("vllm", "out-of-memory", "RuntimeError: CUDA driver error: out of memory"),
    ("sglang", "host-memory", "RuntimeError: Rank 0 scheduler died during initialization (exit code: -9)."),
    ("sglang", "host-memory", "[2026-05-09 10:00:02] Exit code: -9"),
    ("sglang", "port-taken", "ValueError: port at 30000 is not available in 30 seconds. "),
    ("vllm", "driver", "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    ("vllm", "driver", "RuntimeError: CUDA error: peer access is not supported between these two devices"),
    ("vllm", "driver", "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'"),
    ("vllm", "driver", "ValueError: Current node has no GPU available. vLLM engine cannot start without GPU."),
    ("vllm", "interface", "RuntimeError: Every node should have a unique IP address. Got 2 nodes with node ids"),
    ("vllm", "node-missing", "ValueError: The number of required GPUs exceeds the total number of available GPUs in "
                             "the placement group."),
    ("sglang", "node-missing", "ValueError: TP rank 3 could finish the model loading, but there are other ranks that "
                               "didn't finish loading."),
    ("vllm", "start-timeout", "TimeoutError: Timed out waiting for engine core processes to start. Waited 600s"),
    ("vllm", "start-timeout", "TimeoutError: Timed out waiting for engines to send initial message on input socket."),
)  # fmt: skip
SURVIVABLE = (
    ("not-installed", "ModuleNotFoundError: No module named 'vllm._C'"),
    ("not-installed", "ImportError: /v/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"),
    ("not-installed", "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
    ("not-installed", "RuntimeError: Failed to find C compiler. Please specify via CC environment variable"),
    ("not-installed", "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'"),
    ("missing-file", "PermissionError: [Errno 13] Permission denied: '/models/r1/config.json'"),
    ("missing-file", "OSError: [Errno 116] Stale file handle: '/n/models'"),
    ("no-such-model", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max "
                      "retries exceeded with url: /api"),
    ("driver", "RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)"),
)  # fmt: skip


@pytest.mark.parametrize("line", NOT_THERE)
def test_an_engine_that_is_not_there_is_said_to_be_missing(line: str) -> None:
    standing = judge(JobFacts(stage="running"), read_engine_log([line]), HttpFacts())
    assert standing.stage == "FAILED" and standing.failure is not None
    assert (standing.failure.cause, standing.failure.evidence) == ("not-installed", (line,))
    assert "--style" in standing.failure.advice


@pytest.mark.parametrize(("engine", "cause", "line"), FATAL)
def test_a_fatal_line_is_known_by_its_cause(engine: str, cause: str, line: str) -> None:
    standing = judge(JobFacts(stage="running"), read_engine_log([FIRST[engine], line]), HttpFacts())
    assert standing.stage == "FAILED" and standing.failure is not None
    assert (standing.failure.cause, standing.failure.evidence) == (cause, (line,))


@pytest.mark.parametrize(("cause", "line"), SURVIVABLE)
def test_what_may_be_survived_is_the_cause_once_it_was_not(cause: str, line: str) -> None:
    log = read_engine_log([FIRST["vllm"], line])
    running = judge(JobFacts(stage="running"), log, HttpFacts())
    assert running.stage == "LOADING" and line in running.reason
    ended = judge(JobFacts(stage="ended", exit_code=0), log, HttpFacts())
    assert ended.failure is not None and (ended.stage, ended.failure.cause) == ("FAILED", cause)
    served = read_engine_log([FIRST["vllm"], line, "INFO:     Application startup complete."])
    assert served.failure is None


def test_a_death_after_what_might_have_been_survived_is_its_doing() -> None:
    lines = [FIRST["vllm"], "ModuleNotFoundError: No module named 'flash_attn'", "EngineCore failed to start."]
    failure = read_engine_log(lines).failure
    assert failure is not None and (failure.cause, failure.survivable) == ("not-installed", False)
