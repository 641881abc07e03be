"""What was asked for and is refused: a taken port, a flag, a kernel the accelerator lacks, a request."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.symptom import symptom
from sizewell.observer.logs.symptoms.weights import TOKENIZER

_PORT = "end what listens there (ss -ltnp), or choose another --port"
_FLAG = "this release of the engine refuses the settings: change the named one; `sizewell render` writes those it knows"
_KERNEL = (
    "a kernel asks for more than this GPU has: choose another attention backend (--attention-backend), a shorter "
    "--block-size or another weight format"
)
_SPAWN = "set VLLM_WORKER_MULTIPROC_METHOD=spawn: the program touched the GPU before it started its workers"
_CODE = "the checkpoint brings code of its own: --trust-remote-code lets it run, where you trust its maker"
_STEP = (
    "the job does not hold what its step asks for: ask for as much memory, cores and accelerators in the job as in "
    "each srun"
)
REFUSES = "waiting does not help: see what it says, the model's files and the name it is served by (/v1/models)"
_REFUSED = r"sizewell: healthy, and refuses a request for one token: "

SETTINGS = (
    symptom(
        "port-taken", "always", _PORT,
        r"^(?!.*\[Errno 99\]).*error while attempting to bind on address", r"couldn't bind HTTP server socket",
        r"Port is already in use\. |\bport \d+ is already in use", r"failed: port is already allocated",
    ),
    symptom(
        "port-taken", "start", "end what listens there (ss -ltnp), or choose another port",
        r"\bat \d+ is not available in \S+ seconds",
        r"^(?!.*NCCL).*(?:\[Errno 98\]|errno: 98|EADDRINUSE|Address already in use)",
    ),
    symptom("bad-flag", "start", _KERNEL, r"\bOutOfResources: out of resource: "),
    symptom("bad-flag", "end", _SPAWN, r"Cannot re-initialize CUDA in forked subprocess"),
    symptom(
        "bad-flag", "start", _CODE,
        r"argument `trust_remote_code=True`", r"contains custom code which must be executed",
        r"set `--trust-remote-code`",
    ),
    symptom("bad-flag", "start", _STEP, r"srun: error: Unable to create step for job"),
    symptom(
        "bad-flag", "end", _FLAG,
        r"failed to initialize the context: (?!.*normal during memory fitting)", r"quantization requires flash_attn",
    ),
    symptom("bad-flag", "hint", _FLAG, r"failed to (?:initialize the|create) context"),
    symptom(
        "bad-flag", "start", _FLAG,
        r"^(?:vllm|sglang|llama-server|\S+\.py)(?: \w+)*: error: ",
        r"^Error: (?:Got unexpected|No such option|Invalid value|Missing (?:option|argument))",
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
        r"cannot be larger than the number of available GPUs",
        r"is larger than the number of available GPUs", r"invalid (?:reasoning|tool call) parser: ",
        r"type fp8\w* not supported in this architecture", r"^AssertionError: assert .*%.*== 0",
    ),
    symptom("refuses", "always", TOKENIZER, rf"{_REFUSED}.*(?:prompt cannot be empty|[Tt]okenizer)"),
    symptom("refuses", "always", REFUSES, _REFUSED),
)  # fmt: skip
