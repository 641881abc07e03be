"""What did not fit: on the accelerator, beside the weights, on the host, into what a user may have."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.symptom import symptom

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
_SMALLER_CACHE = (
    "the cache it is told to hold does not fit into this machine's free memory: lower VLLM_CPU_KVCACHE_SPACE (GiB for "
    "each worker) or --kv-cache-memory, or end what else runs here"
)
_HOST_MEMORY = "the host ran out of memory: ask for more (--mem, the pod's limit), or load with fewer processes at once"
_SHM = "/dev/shm is too small: start the container with --ipc=host or --shm-size, the pod with a memory-backed volume"
_LIMITS = (
    "the user may start no more threads or open no more files: raise `ulimit -u` or -n, the container's --pids-limit "
    "or --ulimit, or ask the job for more cores"
)

MEMORY = (
    symptom(
        "no-kv-memory", "start", _MORE_CACHE,
        r"No available memory for the cache blocks", r"larger than the available KV cache memory",
        r"larger than the maximum number of tokens that can be stored in KV cache",
        r"Cannot auto-fit max_model_len", r"Not enough memory\. Please try to increase --mem-fraction-static",
        r"failed to allocate buffer for kv cache",
    ),
    symptom(
        "no-kv-memory", "start", _SMALLER_CACHE, r"on kv cache allocation is less than requested memory for kv",
    ),
    symptom(
        "no-kv-memory", "start", "the KV cache is too small for what runs at once: fewer --max-running-requests",
        r"(?:Prefill|Decode) out of memory\. ",
    ),
    symptom(
        "out-of-memory", "start", _LOWER_SHARE,
        r"on startup is less than desired GPU memory utilization", r"on startup is less than the engine's budget",
        r"The memory capacity is unbalanced\. Some GPUs may be occupied", r"Error in memory profiling\. Initial free",
    ),
    symptom(
        "host-memory", "always", _HOST_MEMORY,
        r"\boom[-_]kill", r"Out [Oo]f [Mm]emory: Killed process", r"srun: error: .*: Out Of Memory", r"\bOOMKilled\b",
        r"slurmstepd\S*: error: .*[Ee]xceeded (?:job )?memory limit",
        r"low on memory.*[Ww]orker.*killed|killed due to the node running low on memory",
        r"sizewell: the engine on node .* ended with 137$", r"Failed core proc\(s\): \{[^}]*: -9\b",
    ),
    symptom(
        "host-memory", "start", _HOST_MEMORY,
        r"\(exit code: -9\)", r"^Exit code: -9$", r"terminated with signal SIGKILL",
    ),
    symptom(
        "host-memory", "start", _HOST_MEMORY,
        r"DefaultCPUAllocator: (?:can't allocate|not enough) memory", r"std::bad_alloc", r"^MemoryError\b",
        r"ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate", r"unable to allocate CPU\w* buffer",
        r"\[Errno 12\] Cannot allocate memory", r"on startup is less than desired CPU memory utilization",
    ),
    symptom("host-memory", "start", _SHM, r"/dev/shm.*No space left", r"Bus error", r"creating shared memory segment"),
    symptom(
        "host-memory", "end", _LIMITS,
        r"pthread_create failed", r"can't start new thread", r"fork: (?:retry: )?Resource temporarily unavailable",
        r"[Tt]oo many open files",
    ),
    symptom(
        "out-of-memory", "start", _LESS_GPU_MEMORY,
        r"\b(?:CUDA|HIP|XPU|MPS backend) out of memory", r"CUDA (?:driver )?error: out of memory",
        r"Cuda failure.*out of memory",
        r"hipErrorOutOfMemory", r"not enough GPU memory", r"cudaMalloc failed: out of memory",
        r"CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)",
        r"NVML_SUCCESS == r INTERNAL ASSERT FAILED.*CUDACachingAllocator",
        r"unable to allocate (?!CPU)\w+ buffer", r"ErrorOutOfDeviceMemory", r"OutOfMemoryError\b",
    ),
)  # fmt: skip
