"""How failures of a start and deaths of an engine are worded, each with its cause and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sizewell.specs.standing import Cause

Weight = Literal["always", "job", "start", "end", "hint"]
"""`always` is a failure wherever it stands; `job` is the scheduler's word on a whole job, which may run again by now;
`start` counts until requests are taken, later only if the engine dies of it; `end` may be survived, and is the cause
where it was not; `hint` is printed by healthy starts too and only explains a death."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """A wording of a failure: its cause, how much it weighs alone, and the advice."""

    cause: Cause
    weight: Weight
    advice: str
    pattern: re.Pattern[str]


def _symptom(cause: Cause, weight: Weight, advice: str, *patterns: str) -> Symptom:
    return Symptom(cause, weight, advice, re.compile("|".join(patterns)))


_LOWER_SHARE = (
    "another process holds GPU memory: end it (nvidia-smi), or lower --gpu-memory-utilization (--mem-fraction-static)"
)
_LESS_GPU_MEMORY = (
    "the GPU is full: more GPUs (--tensor-parallel-size, --tp), a smaller weight format, "
    "fewer --max-num-seqs or --max-num-batched-tokens"
)
_MORE_CACHE = (
    "the weights leave too little for the KV cache: shorten --max-model-len (--context-length, --ctx-size), raise "
    "--gpu-memory-utilization (--mem-fraction-static), or use more GPUs"
)
_HOST_MEMORY = "the host ran out of memory: ask for more (--mem, the pod's limit), or load with fewer processes at once"
_SHM = "/dev/shm is too small: start the container with --ipc=host or --shm-size, the pod with a memory-backed volume"
_PATH = "the path does not hold what was asked for: check it on every node, and that the download or copy is whole"
_FLAG = "this release of the engine refuses the settings: change the named one; `sizewell render` writes those it knows"
_NETWORK = "set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to the interface that joins the nodes (see `ip -br addr`)"
_JOIN = "start the missing node, or see its own log for why it ended; the head's address and port must be open to it"
_INSTALL = (
    "the engine is not installed where this runs: see --style and --environment, `sizewell doctor` on that node, and "
    "that the engine starts there by hand"
)
_TOOLS = "the engine compiles kernels here and lacks a tool: install it (gcc, Python headers, CUDA's nvcc, ninja)"
_PATIENCE = "weights load slower than the engine waits: raise VLLM_ENGINE_READY_TIMEOUT_S, or use faster storage"
TOKENIZER = "the checkpoint holds no tokenizer this release reads: copy the model's tokenizer*.json files into it"
_MATCH = (
    "the weights are not what this release makes of their config: the checkpoint is incomplete, of another format or "
    "newer than the engine"
)
_HUB = "the hub does not answer or refuses: copy the model once, name the copy (--model-path), or set HF_HUB_OFFLINE=1"
_NCCL = "start again with NCCL_DEBUG=WARN: it names the call; /dev/shm may be too small, GPUs may not reach each other"
REFUSES = "waiting does not help: see what it says, the model's files and the name it is served by (/v1/models)"
_REFUSED = r"sizewell: healthy, and refuses a request for one token: "
_DRIVER = "the GPU or its driver refuses: see nvidia-smi and `sizewell doctor`; use an engine built for this driver"

SYMPTOMS: tuple[Symptom, ...] = (
    _symptom(
        "not-installed", "start", _INSTALL,
        r"(?:vllm|vllm-router|sglang|llama-server|ray|python3?|conda|module|apptainer|docker): (?:command )?not found",
        r"\bNo module named '?(?:vllm|sglang|ray)'?$", r"[Cc]ould not find conda environment",
        r"(?:CondaError|CommandNotFoundError): ", r"Lmod has detected the following error|module\(s\) are unknown",
        r"Unable to locate a modulefile", r"could not open image \S+: failed to retrieve path",
        r"/(?:vllm|vllm-router|sglang|llama-server|ray|python3?): No such file or directory$",
        r"executable file not found in \$PATH", r"bad interpreter: No such file",
        r"/env: \S+ No such file or directory", r"sizewell: the engine on node .* ended with 127$",
        r"Failed to import Ray: ",
        r"is (?:installed with version \S+, which is )?less than the minimum required version",
        r"with minimum required version \S+ is not installed",
    ),
    _symptom(
        "not-installed", "end", _INSTALL,
        r"^ModuleNotFoundError: ", r"^ImportError: (?!lib(?:cuda|cudart|cublas|amdhip64))",
    ),
    _symptom(
        "not-installed", "end", _TOOLS,
        r"Failed to find C compiler", r"Could not find nvcc", r"fatal error: Python\.h: No such file",
        r"No such file or directory: '(?:ninja|nvcc|gcc)'",
    ),
    _symptom(
        "start-timeout", "start", _PATIENCE,
        r"Timed out waiting for (?:new )?engine core processes to start",
        r"Timed out waiting for engines to send initial message", r"Server failed to start within the timeout",
    ),
    _symptom(
        "no-kv-memory", "start", _MORE_CACHE,
        r"No available memory for the cache blocks", r"larger than the available KV cache memory",
        r"larger than the maximum number of tokens that can be stored in KV cache",
        r"Cannot auto-fit max_model_len", r"Not enough memory\. Please try to increase --mem-fraction-static",
        r"on kv cache allocation is less than requested memory for kv", r"failed to allocate buffer for kv cache",
    ),
    _symptom(
        "no-kv-memory", "start", "the KV cache is too small for what runs at once: fewer --max-running-requests",
        r"(?:Prefill|Decode) out of memory\. ",
    ),
    _symptom(
        "out-of-memory", "start", _LOWER_SHARE,
        r"on startup is less than desired GPU memory utilization", r"on startup is less than the engine's budget",
        r"The memory capacity is unbalanced\. Some GPUs may be occupied", r"Error in memory profiling\. Initial free",
    ),
    _symptom(
        "host-memory", "always", _HOST_MEMORY,
        r"\boom[-_]kill", r"Out [Oo]f [Mm]emory: Killed process", r"srun: error: .*: Out Of Memory", r"\bOOMKilled\b",
        r"low on memory.*[Ww]orker.*killed|killed due to the node running low on memory",
        r"sizewell: the engine on node .* ended with 137$", r"Failed core proc\(s\): \{[^}]*: -9\b",
    ),
    _symptom(
        "host-memory", "start", _HOST_MEMORY,
        r"\(exit code: -9\)", r"^Exit code: -9$", r"terminated with signal SIGKILL",
    ),
    _symptom(
        "host-memory", "start", _HOST_MEMORY,
        r"DefaultCPUAllocator: (?:can't allocate|not enough) memory", r"std::bad_alloc", r"^MemoryError\b",
        r"ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate", r"unable to allocate CPU\w* buffer",
        r"\[Errno 12\] Cannot allocate memory", r"on startup is less than desired CPU memory utilization",
    ),
    _symptom("host-memory", "start", _SHM, r"/dev/shm.*No space left", r"Bus error", r"creating shared memory segment"),
    _symptom(
        "out-of-memory", "start", _LESS_GPU_MEMORY,
        r"\b(?:CUDA|HIP|XPU|MPS backend) out of memory", r"CUDA (?:driver )?error: out of memory",
        r"Cuda failure.*out of memory",
        r"hipErrorOutOfMemory", r"not enough GPU memory", r"cudaMalloc failed: out of memory",
        r"CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)",
        r"NVML_SUCCESS == r INTERNAL ASSERT FAILED.*CUDACachingAllocator",
        r"unable to allocate (?!CPU)\w+ buffer", r"ErrorOutOfDeviceMemory", r"OutOfMemoryError\b",
    ),
    _symptom(
        "port-taken", "always", "end what listens there (ss -ltnp), or choose another --port",
        r"error while attempting to bind on address", r"couldn't bind HTTP server socket",
        r"Port is already in use\. |\bport \d+ is already in use",
    ),
    _symptom(
        "port-taken", "start", "end what listens there (ss -ltnp), or choose another port",
        r"\bat \d+ is not available in \S+ seconds",
        r"^(?!.*NCCL).*(?:\[Errno 98\]|errno: 98|EADDRINUSE|Address already in use)",
    ),
    _symptom(
        "gated-model", "start", "accept the model's licence on its page, and set HF_TOKEN to a token that may read it",
        r"GatedRepoError", r"Access to model \S+ is restricted", r"[Cc]annot access gated repo",
        r"You are trying to access a gated repo", r"403 Client Error", r"Invalid user token",
        r"Error: 40[13] (?:Client Error: )?(?:Unauthorized|Forbidden)", r"HEAD failed, status: 40[13]\b",
    ),
    _symptom(
        "missing-file", "start", _PATH,
        r"Repo id must be .*: '?[./~]", r"local directory specified: '?[./~]",
        r"^OSError: [./~]\S* (?:is not a local|does not)",
        r"\bFileNotFoundError: (?!.*'(?:ninja|nvcc|gcc)')", r"Cannot find any model weights",
        r"does not appear to have a file named (?!generation_config|chat_template)",
        r"SafetensorError: ", r"failed to open GGUF|failed to open (?:model )?file|gguf_init_from_file: failed to open",
        r"is not a valid JSON file", r"model is corrupted or incomplete",
        r"appears path-like, but doesn't exist", r"invalid magic characters", r"Unrecognized model in [./~]",
        r"error loading model: invalid split file name",
    ),
    _symptom(
        "missing-file", "start", TOKENIZER,
        r"Can't load tokenizer for '", r"[Cc]ouldn't instantiate the backend tokenizer",
        r"error loading model vocabulary", r"Tokenizer class \S+ does not exist",
    ),
    _symptom(
        "missing-file", "start", _MATCH,
        r"weights were not initialized from checkpoint", r"There is no module or parameter named",
        r"Attempted to load weight .* into parameter", r"error loading model: missing tensor '",
        r"error loading model: .* has wrong shape; expected",
    ),
    _symptom(
        "missing-file", "end", _PATH,
        r"^PermissionError: ", r"Stale file handle", r"\[Errno (?:5|121)\]",
    ),
    _symptom(
        "no-such-model", "start", "check the model's name; offline, it must be in the cache of every node (HF_HOME)",
        r"Repository Not Found for url", r"RepositoryNotFoundError", r"RevisionNotFoundError", r"Repo id must be",
        r"is not a valid model identifier", r"Invalid repository ID or local directory", r"LocalEntryNotFoundError",
        r"OfflineModeIsEnabled", r"couldn't find them in the cached files", r"couldn't connect to 'https://huggingface",
    ),
    _symptom(
        "no-such-model", "end", _HUB,
        r"(?:huggingface|hf|modelscope)\S* ?.*Max retries exceeded", r"429 Client Error", r"HfHubHTTPError: 5\d\d ",
        r"CERTIFICATE_VERIFY_FAILED", r"^httpx\.(?:Connect|Read)(?:Error|Timeout): ",
    ),
    _symptom(
        "no-such-model", "start", "this release of the engine does not know the architecture: use a newer one",
        r"[Mm]odel architectures? .* (?:is|are) not supported", r"does not recognize this architecture",
        r"unknown model architecture",
    ),
    _symptom(
        "bad-flag", "start", _FLAG,
        r"^(?:vllm|sglang|llama-server|\S+\.py)(?: \w+)*: error: ",
        r"unrecognized arguments: ", r"validation errors? for \w+", r"error: invalid argument: ",
        r"error while handling argument", r"greater than the derived (?:max_model_len|context_length)",
        r"Unknown quantization method", r"must be divisible by (?:tensor parallel size|tp_size)|not divisible by tp",
        r"is not divisible by (?:weight quantization|min_thread|\S*group_size)",
        r"not aligned with the quantized weight",
        r"No valid \w+ ?\w* backend found", r"is not valid for this configuration", r"[Uu]nknown attention backend",
        r"Failed to find a kernel that can implement", r"exceeds available Mamba cache blocks",
        r"does not match the quantization (?:method|argument)", r"is smaller than max_model_len",
        r"only supported on GPUs with compute capability",
        r"quantization method \S+ is not supported for the current GPU",
        r"argument `trust_remote_code=True`", r"contains custom code which must be executed",
        r"cannot be larger than the number of available GPUs",
        r"is larger than the number of available GPUs", r"invalid (?:reasoning|tool call) parser: ",
        r"type fp8\w* not supported in this architecture",
    ),
    _symptom(
        "disk-full", "start", "free space, or point HF_HOME and the caches elsewhere",
        r"[Nn]o space left on device", r"Disk quota exceeded",
    ),
    _symptom(
        "interface", "start", _NETWORK,
        r"no socket interface found", r"Unable to find (?:address|interface) for", r"unsupported gloo device",
        r"ProcessGroupGloo.*interface", r"Failed to find a valid network interface",
        r"NCCL [Ee]rror(?: \d+)?: unhandled system error", r"Every node should have a unique IP address",
    ),
    _symptom(
        "node-missing", "start", _JOIN,
        r"waiting for clients\. \d+/\d+ clients joined", r"client socket has timed out", r"DistStoreError",
        r"sizewell: never joined", r"never reached Ray at", r"job step ended before these nodes joined",
        r"Cannot provide a placement group", r"exceeds the total number of available GPUs in the placement group",
        r"other ranks that didn't finish loading", r"Did not receive response from front-end process",
    ),
    _symptom(
        "node-missing", "hint", _JOIN,
        r"client socket has failed to connect", r"Waiting for creating a placement group", r"No route to host",
        r"Failed to get the system config from raylet", r"received errors while waiting for send/recv from rank",
    ),
    _symptom(
        "interface", "hint", _NETWORK,
        r"Gloo connectFullMesh failed", r"ncclSystemError", r"ncclRemoteError",
        r"NCCL error: remote process",
        r"ibv_\w+ failed", r"Watchdog caught collective operation timeout",
        r"gloo/transport/.*[Tt]imed out", r"NCCL WARN .*no socket interface found",
        r"Connection (?:reset|closed) by peer", r"Using the loopback address as fallback",
    ),
    _symptom("node-missing", "job", "a node failed: start again, without it (--exclude)", r"DUE TO NODE FAILURE"),
    _symptom(
        "cancelled", "job", "the scheduler took the machines back: start again, or where it does not",
        r"DUE TO PREEMPTION",
    ),
    _symptom(
        "walltime", "job", "ask for more time (--time), or start sooner after the allocation",
        r"DUE TO TIME LIMIT",
    ),
    _symptom(
        "driver", "start", _DRIVER,
        r"NVIDIA driver on your system is too old", r"driver version is insufficient", r"no kernel image is available",
        r"Failed to infer device type", r"No (?:CUDA|HIP) GPUs are available", r"Found no NVIDIA driver",
        r"CUDA unknown error",
        r"system not yet initialized", r"forward compatibility was attempted", r"unsupported toolchain",
        r"uncorrectable ECC error", r"lib(?:cuda|cudart|cublas|amdhip64)\S*: cannot open shared object",
        r"invalid device ordinal", r"busy or unavailable", r"peer access is not supported", r"^ptxas fatal",
        r"Driver/library version mismatch", r"nvidia-container-cli: ", r"could not select device driver",
        r"cannot start without GPU",
    ),
    _symptom("refuses", "always", TOKENIZER, rf"{_REFUSED}.*(?:prompt cannot be empty|[Tt]okenizer)"),
    _symptom("refuses", "always", REFUSES, _REFUSED),
    _symptom("driver", "end", _DRIVER, r"no CUDA-capable device is detected"),
    _symptom("driver", "end", _NCCL, r"unhandled cuda error"),
)  # fmt: skip
"""From the most to the least telling: a line counts for the first that knows it."""

DEATHS = re.compile(
    r"EngineCore failed to start|EngineCore encountered a fatal error|EngineDeadError|Engine core initialization failed"
    r"|[Ee]ngine core proc \S+ died unexpectedly|Worker ?[Pp]roc.* died unexpectedly"
    r"|WorkerProc (?:failed to start|initialization failed)|Engine process failed to start"
    r"|Error executing method .* might cause deadlock|Background loop (?:has errored|is stopped)|Engine loop has died"
    r"|Engine background task failed"
    r"|(?:Scheduler|TpModelWorker\w*|DataParallelController|DetokenizerManager|TokenizerManager) hit an exception"
    r"|Received sigquit from a child proc|Rank \d+ scheduler (?:is dead|died)|Watchdog timeout|watchdog timeout"
    r"|Initialization failed\. (?:Please see|warmup)|exiting due to model loading error|terminate called after throwing"
    r"|^GGML_ASSERT|Segmentation fault|Segfault encountered|Fatal Python error|core dumped"
    r"|sizewell: the engine on node .* ended with|sizewell: the engine ended"
)
"""What is printed when an engine or a part of it is gone: consequences, never the reason."""
CANCELLED = re.compile(
    r"slurmstepd\S*: error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+(?: DUE TO JOB REQUEUE)?(?: \*\*\*|$)"
)
EXCEPTION = re.compile(r"(?:[a-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit)(?::|$)")
"""The last line of a traceback."""
OF_A_RUNNING_ENGINE: frozenset[Cause] = frozenset(
    {"out-of-memory", "no-kv-memory", "host-memory", "driver", "disk-full", "interface", "node-missing", "walltime"}
)
"""What an engine that served can die of; a request may mention the others and hurt nobody else."""
UNKNOWN_ADVICE = "the reason is new to sizewell: read the log above these lines, the first exception is the cause"

DEATH_ADVICE = "the engine ended by itself: start it again; the kernel log (dmesg) tells of kills and GPU faults"
