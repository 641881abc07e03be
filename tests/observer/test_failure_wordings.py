"""One line of each wording, as engines, schedulers and launchers print it, and the cause it is known by."""

from __future__ import annotations

import pytest

from observer.engine_logs import read_engine_log
from sizewell.observer.standing import judge
from sizewell.specs.standing import HttpFacts, JobFacts

FIRST = {
    "vllm": "INFO 11-29 20:43:09 [api_server.py:1] vLLM API server version 0.33.0",
    "sglang": "[2026-05-09 10:00:00] server_args=ServerArgs(model_path='m')",
    "llama.cpp": "build: 4500 (c6bc7395) with gcc for x86_64",
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
    "bash: line 1: /opt/venv/bin/vllm: No such file or directory",
    "ValueError: Failed to import Ray: No module named 'ray'.Please install Ray with `pip install ray`.",
    "slurmstepd: error: execve(): vllm: No such file or directory",
    "/app/llama-server: error while loading shared libraries: libmtmd.so.0: cannot open shared object file: No such f",
    "llama-server: /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.29' not found (required by libllama.so)",
    "slurmstepd-n1: error: execve(): /v/bin/vllm: Permission denied",
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
    ("vllm", "missing-file", "OSError: Can't load tokenizer for '/models/x'. If you were trying to load it from 'h"),
    ("vllm", "missing-file", "ValueError: Couldn't instantiate the backend tokenizer from one of: "),
    ("vllm", "missing-file", "ValueError: Tokenizer class DeepseekTokenizer does not exist or is not imported."),
    ("vllm", "missing-file", "ValueError: Unrecognized model in /models/x. Should have a `model_type` key in its con"),
    ("llama.cpp", "missing-file", "llama_model_load: error loading model: error loading model vocabulary: unknown"),
    ("llama.cpp", "missing-file", "llama_model_load: error loading model: missing tensor 'output_norm.weight'"),
    ("llama.cpp", "missing-file", "llama_model_load: error loading model: check_tensor_dims: tensor 'a.weight' has wr"
                                  "ong shape; expected  4096, 32001, got  4096, 32000"),
    ("llama.cpp", "missing-file", "llama_model_load: error loading model: invalid split file name: x.gguf"),
    ("llama.cpp", "no-kv-memory", "llama_kv_cache: failed to allocate buffer for kv cache"),
    ("llama.cpp", "host-memory", "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 4000"),
    ("llama.cpp", "gated-model", "common_download_file_single: HEAD failed, status: 401"),
    ("vllm", "gated-model", "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingf"),
    ("vllm", "gated-model", "huggingface_hub.errors.HfHubHTTPError: 403 Forbidden: Please enable access to public ga"),
    ("vllm", "no-such-model", "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1)"),
    ("vllm", "bad-flag", "KeyError: 'invalid reasoning parser: foo (chose from { deepseek_r1 })'"),
    ("vllm", "bad-flag", "TypeError: invalid tool call parser: foo (chose from { hermes,mistral })"),
    ("vllm", "bad-flag", "RuntimeError: Worker failed with error 'type fp8e4nv not supported in this architecture.'"),
    ("vllm", "out-of-memory", "AssertionError: Error in memory profiling. Initial free memory 15.2 GiB, current 17.0"),
    ("vllm", "driver", "RuntimeError: No HIP GPUs are available"),
    ("vllm", "disk-full", "FATAL:   while extracting image: write /tmp/rootfs: no space left on device"),
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
    ("vllm", "missing-file", "KeyError: 'model.layers.35.mlp.gate.g_idx'"),
    ("vllm", "bad-flag", "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 81920, Hard"),
    ("vllm", "interface", "torch.distributed.DistBackendError: NCCL error in: /t/NCCLUtils.hpp:268, unhandled system e"
                          "rror, NCCL version 2.21.5"),
    ("vllm", "driver", "Memory access fault by GPU node-2 (Agent handle: 0x63155be5d980) on address (nil). Reason: U"),
    ("llama.cpp", "driver", "ROCm error: invalid device function"),
    ("llama.cpp", "missing-file", "0.00.750.018 E gguf_init_from_reader: tensor 'a.weight' has offset 1, expected 2"),
    ("llama.cpp", "missing-file", "clip_init: failed to load model '/m/p.gguf': operator(): unable to find tensor v.b"),
    ("llama.cpp", "missing-file", "llama_model_load: error loading model: tensor 'a' data is not within the file boun"),
    ("llama.cpp", "no-such-model", "clip_init: failed to load model '/m/p': load_hparams: unknown projector type: x4"),
    ("llama.cpp", "driver", "  what():  vk::Queue::submit: ErrorDeviceLost"),
    ("vllm", "start-timeout", "TimeoutError: Timed out waiting for engine core processes to start. Waited 600s"),
    ("vllm", "start-timeout", "TimeoutError: Timed out waiting for engines to send initial message on input socket."),
)  # fmt: skip
NO_ENGINE_YET = (
    ("missing-file", "slurmstepd: error: pyxis:     [ERROR] URL https://r/v2/x/manifests/1 returned error code: 401"),
    ("missing-file", "FATAL:   While making image from oci registry: error fetching image: manifest unknown"),
    ("missing-file", "docker: Error response from daemon: pull access denied for vllm/x, repository does not exist"),
    ("not-installed", "slurmstepd: error: pyxis: couldn't start container"),
    ("not-installed", "FATAL:   container creation failed: mount /a->/a error: while mounting /a: destination /a"),
    ("not-installed", "exec /usr/local/bin/vllm: exec format error"),
    ("not-installed", "KeyError: 'getpwuid(): uid not found: 1000910000'"),
    ("not-installed", "serve.sh: line 18:  1669 Illegal instruction     (core dumped) vllm serve m"),
    ("not-installed", "RuntimeError: Version mismatch: The cluster was started with:"),
    ("node-missing", "(raylet) The node with node id: 0f and address: 10.0.0.51 and node name: 10.0.0.51 has been marke"
                     "d dead because the detector has missed too many heartbeats from it."),
    ("node-missing", "Some Ray subprocesses exited unexpectedly:"),
    ("port-taken", "docker: Bind for 127.0.0.1:8000 failed: port is already allocated."),
    ("node-missing", "srun: error: Task launch for StepId=96.0 failed on node n2: No such process"),
    ("bad-flag", "srun: error: Unable to create step for job 7: Memory required by task is not available"),
    ("bad-flag", "Error: No such option: --disable-usage-stat"),
    ("driver", "vllm: error while loading shared libraries: libcuda.so.1: cannot open shared object file: No such f"),
    ("driver", "ValueError: invalid literal for int() with base 10: 'MIG-377e0049-554c-540b-93c6-d0976f8426cb'"),
)  # fmt: skip
SURVIVABLE = (
    ("not-installed", "ModuleNotFoundError: No module named 'vllm._C'"),
    ("not-installed", "ImportError: /v/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"),
    ("not-installed", "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
    ("not-installed", "RuntimeError: Failed to find C compiler. Please specify via CC environment variable"),
    ("not-installed", "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'"),
    ("not-installed", "RuntimeError: Ninja build failed. Ninja output:"),
    ("not-installed", "nvcc fatal   : Unsupported gpu architecture 'compute_120a'"),
    ("not-installed", "/tmp/tmp23j1qrsv/main.c:3:10: fatal error: stddef.h: No such file or directory"),
    ("not-installed", "torch._inductor.exc.InductorError: CalledProcessError: Command '['/usr/bin/gcc', '/tmp/main.c', "
                      "'-O3']' returned non-zero exit status 1."),
    ("not-installed", "AttributeError: Qwen2Tokenizer has no attribute all_special_tokens_extended"),
    ("host-memory", "OpenBLAS blas_thread_init: pthread_create failed for thread 3 of 64: Resource temporarily unavai"),
    ("host-memory", "OSError: [Errno 24] Too many open files: '/m/model-00001.safetensors'"),
    ("bad-flag", "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you"),
    ("bad-flag", "llama_new_context_with_model: V cache quantization requires flash_attn"),
    ("driver", "Duplicate GPU detected : rank 9 and rank 1 both on CUDA device 34000"),
    ("driver", "RuntimeError: NCCL error: invalid usage (run with NCCL_DEBUG=WARN for details)"),
    ("interface", "/n/init.cu:nvshmemi_check_state_and_init:1080: nvshmem initialization failed, exiting"),
    ("interface", "nixl._bindings.nixlBackendError: NIXL_ERR_BACKEND"),
    ("node-missing", "[2026-06-13 01:49:41,730 E 1 1] gcs_rpc_client.h:179: Failed to connect to GCS at address 10.1"),
    ("missing-file", "PermissionError: [Errno 13] Permission denied: '/models/r1/config.json'"),
    ("missing-file", "OSError: [Errno 116] Stale file handle: '/n/models'"),
    ("no-such-model", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max "
                      "retries exceeded with url: /api"),
    ("no-such-model", "httpx.ConnectError: [Errno -2] Name or service not known"),
    ("node-missing", "[2025-01-31 21:40:00,370 E 28 28] raylet_client.cc:60: Could not connect to socket /t/raylet.1"),
    ("node-missing", "(autoscaler +34s) Error: No available node types can fulfill resource request {'GPU': 8.0}."),
    ("interface", "zmq.error.ZMQError: Cannot assign requested address (addr='tcp://172.17.0.5:34762')"),
    ("interface", "zmq.error.ZMQError: No such device (addr='tcp://fdbd:dc02::130:13345')"),
    ("interface", "OSError: [Errno 99] Cannot assign requested address"),
    ("interface", "[Errno 99] error while attempting to bind on address ('10.0.0.9', 8000): cannot assign requested"),
    ("interface", "ValueError: Ray does not allocate any GPUs on the driver node. Consider adjusting the Ray placem"),
    ("not-installed", "torch._inductor.exc.InductorError: PermissionError: [Errno 13] Permission denied: '/.triton'"),
    ("not-installed", "subprocess.CalledProcessError: Command '/usr/local/cuda/bin/ptxas -v --gpu-name=sm_87 /tmp/a.p"
                      "tx' returned non-zero exit status 255."),
    ("not-installed", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='edge.urm.example', port=443): M"
                      "ax retries exceeded with url: /artifactory/x.cubin"),
    ("not-installed", "openai_harmony.HarmonyError: error downloading or loading vocab file: failed to download or lo"),
    ("start-timeout", "KeyboardInterrupt: terminated"),
    ("driver", "RuntimeError: HIP error: invalid argument"),
    ("driver", "Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:455 'invalid argument'"),
    ("driver", "RuntimeError: Triton Error [CUDA]: device kernel image is invalid"),
    ("driver", "RuntimeError: CUDA error: unknown error"),
    ("driver", "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"),
    ("driver", "RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)"),
)  # fmt: skip


@pytest.mark.parametrize("line", NOT_THERE)
def test_an_engine_that_is_not_there_is_said_to_be_missing(line: str) -> None:
    standing = judge(JobFacts(stage="running"), read_engine_log([line]), HttpFacts())
    assert standing.stage == "FAILED" and standing.failure is not None
    assert (standing.failure.cause, standing.failure.evidence) == ("not-installed", (line,))
    assert "--style" in standing.failure.advice


@pytest.mark.parametrize(("cause", "line"), NO_ENGINE_YET)
def test_what_ends_before_an_engine_says_a_word_is_named(cause: str, line: str) -> None:
    failure = judge(JobFacts(stage="running"), read_engine_log([line]), HttpFacts()).failure
    assert failure is not None and (failure.cause, failure.evidence) == (cause, (line,))


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


def test_a_job_that_found_out_that_its_server_refuses_has_failed() -> None:
    said = "sizewell: healthy, and refuses a request for one token: 400 "
    serving = [FIRST["vllm"], "INFO:     Application startup complete."]
    wordless = read_engine_log([*serving, said + '{"message":"The decoder prompt cannot be empty"}']).failure
    assert wordless is not None and wordless.cause == "refuses" and "tokenizer" in wordless.advice
    other = read_engine_log([*serving, said + "no such model"]).failure
    assert other is not None and other.cause == "refuses" and "/v1/models" in other.advice


def test_a_death_after_what_might_have_been_survived_is_its_doing() -> None:
    lines = [FIRST["vllm"], "ModuleNotFoundError: No module named 'flash_attn'", "EngineCore failed to start."]
    failure = read_engine_log(lines).failure
    assert failure is not None and (failure.cause, failure.survivable) == ("not-installed", False)


@pytest.mark.parametrize(
    "line",
    [
        "n1:99:99 [0] NCCL WARN Bootstrap : no socket interface found",
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:136] Timed out waiting 1800000ms",
    ],
)
def test_a_hint_explains_a_death_and_accuses_nobody_alone(line: str) -> None:
    log = read_engine_log([FIRST["vllm"], line])
    assert log.failure is None or log.failure.survivable
    died = read_engine_log([FIRST["vllm"], line, "EngineCore failed to start."]).failure
    assert died is not None and died.cause == "interface"


def test_a_cache_that_does_not_fit_is_nearer_to_the_cause_than_full_memory() -> None:
    """llama.cpp tells of the failed allocation first."""
    full = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4 MiB on device 0: cudaMalloc failed: out of memory"
    cache = "llama_kv_cache: failed to allocate buffer for kv cache"
    failure = read_engine_log([FIRST["llama.cpp"], full, cache, "main: exiting due to model loading error"]).failure
    assert failure is not None and failure.cause == "no-kv-memory" and "--ctx-size" in failure.advice


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        ("vllm", "Could not load: /m does not appear to have a file named generation_config.json. Checkout 'https://h"),
        (
            "sglang",
            "[2026-05-09 10:00:30] Decode out of memory happened. #retracted_reqs: 1, #new_token_ratio: 0.5 -> 0.9",
        ),
    ],
)
def test_what_starts_survive_accuses_nobody(engine: str, line: str) -> None:
    assert read_engine_log([FIRST[engine], line]).failure is None


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("  Value error, User-specified max_model_len (9) is greater than the derived max_model_len", "bad-flag"),
        ("  Value error, The model's repository contains custom code which must be executed", "bad-flag"),
        ("  Value error, Model architectures ['NewForCausalLM'] are not supported for now.", "no-such-model"),
        ("  Value error, Transformers does not recognize this architecture.", "no-such-model"),
        ("  Value error, Model architectures ['LlamaForCausalLM'] failed to be inspected.", "not-installed"),
        ("  Value error, it is Sunday", "bad-flag"),
    ],
)
def test_the_reason_counts_and_not_the_line_that_announces_it(reason: str, cause: str) -> None:
    announced = "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig"
    failure = read_engine_log([FIRST["vllm"], announced, reason]).failure
    assert failure is not None and failure.cause == cause
    assert reason in failure.evidence


def test_an_announced_reason_is_not_looked_for_further_on() -> None:
    opened = "RuntimeError: Ninja build failed. Ninja output:"
    lines = [FIRST["vllm"], opened, "FAILED: x.o", "one more", "of something else", "EngineCore failed to start."]
    failure = read_engine_log(lines).failure
    assert failure is not None and failure.evidence == (opened, "FAILED: x.o", "one more")


@pytest.mark.parametrize(
    "line",
    ["RuntimeError: the moon is full", "triton.errors.Whatever: the moon is full", "nixl.theirError: the moon is full",
     "CUDA error: the moon is full", "slurmstepd: error: the moon is full"],
)  # fmt: skip
@pytest.mark.parametrize("before", [True, False])
def test_a_new_reason_is_shown_with_the_death_it_explains(line: str, before: bool) -> None:
    died = "RuntimeError: Engine core initialization failed. See root cause above."
    failure = read_engine_log([FIRST["vllm"], *([line, died] if before else [died, line])]).failure
    assert failure is not None and failure.cause == "engine-death" and failure.evidence == (line, died)


def test_a_context_that_fails_while_memory_is_fitted_is_no_failure() -> None:
    line = "0.01.388.368 E llama_init: failed to initialize the context: x (this is normal during memory fitting)"
    assert read_engine_log([FIRST["llama.cpp"], line]).failure is None


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("sizewell: never joined within 60 s: gpu2", "node-missing"),
        ("sizewell: not ready after 600 s on gpu1; see what each node says above", "start-timeout"),
    ],
)
def test_what_the_job_says_of_itself_counts_though_the_first_engine_says_it_serves(said: str, cause: str) -> None:
    """The job ends for it: SLURM then calls it FAILED, and its log that its step was cancelled."""
    lines = [
        FIRST["vllm"], "INFO 11-30 17:37:43 [api_server.py:1] Starting vLLM API server 0 on http://h:80", said,
        "0: slurmstepd-gpu1: error: *** STEP 28.0 ON gpu1 CANCELLED AT 2026-11-30T17:37:59 ***",
    ]  # fmt: skip
    log = read_engine_log(lines)
    standing = judge(JobFacts(stage="ended", reason="FAILED", exit_code=1), log, HttpFacts())
    assert standing.stage == "FAILED" and standing.failure is not None and standing.failure.cause == cause
