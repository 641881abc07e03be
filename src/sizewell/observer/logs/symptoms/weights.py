"""The model's files: not there, not whole, not for this release, not to be had, or slower than the engine waits."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.symptom import symptom

_PATIENCE = "weights load slower than the engine waits: raise VLLM_ENGINE_READY_TIMEOUT_S, or use faster storage"
_PROBE = (
    "it was told to end before it served, most often by a pod's probe: give the probe more time (failureThreshold), or "
    "use faster storage"
)
_PATH = "the path does not hold what was asked for: check it on every node, and that the download or copy is whole"
TOKENIZER = "the checkpoint holds no tokenizer this release reads: copy the model's tokenizer*.json files into it"
_MATCH = (
    "the weights are not what this release makes of their config: the checkpoint is incomplete, of another format or "
    "newer than the engine"
)
_HUB = "the hub does not answer or refuses: copy the model once, name the copy (--model-path), or set HF_HUB_OFFLINE=1"
_FETCH = (
    "what it fetches as it starts cannot be had from here: allow the host it names, or fetch it once where that is "
    "reachable and keep it in the environment or the cache (kernels, tokenizers, plugins)"
)
_LATE = "see what each node said until then; SIZEWELL_READY_S in the job's environment lets it take longer"

WEIGHTS = (
    symptom(
        "start-timeout", "start", _PATIENCE,
        r"Timed out waiting for (?:new )?engine core processes to start",
        r"Timed out waiting for engines to send initial message", r"Server failed to start within the timeout",
    ),
    symptom("start-timeout", "always", _LATE, r"sizewell: not ready after \S+ s on"),
    symptom("start-timeout", "end", _PROBE, r"^KeyboardInterrupt: terminated"),
    symptom(
        "gated-model", "start", "accept the model's licence on its page, and set HF_TOKEN to a token that may read it",
        r"GatedRepoError", r"Access to model \S+ is restricted", r"[Cc]annot access gated repo",
        r"You are trying to access a gated repo", r"403 Client Error", r"Invalid user token",
        r"Error: 40[13] (?:Client Error: )?(?:Unauthorized|Forbidden)", r"HEAD failed, status: 40[13]\b",
    ),
    symptom(
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
    symptom(
        "missing-file", "start", TOKENIZER,
        r"Can't load tokenizer for '", r"[Cc]ouldn't instantiate the backend tokenizer",
        r"error loading model vocabulary", r"Tokenizer class \S+ does not exist",
    ),
    symptom(
        "missing-file", "start", _MATCH,
        r"weights were not initialized from checkpoint", r"There is no module or parameter named",
        r"Attempted to load weight .* into parameter", r"error loading model: missing tensor '",
        r"error loading model: .* has wrong shape; expected", r"^KeyError: '(?:[\w-]+\.)*layers\.\d+\.",
    ),
    symptom(
        "missing-file", "end", _PATH,
        r"^PermissionError: ", r"Stale file handle", r"\[Errno (?:5|121)\]",
    ),
    symptom(
        "no-such-model", "start", "check the model's name; offline, it must be in the cache of every node (HF_HOME)",
        r"Repository Not Found for url", r"RepositoryNotFoundError", r"RevisionNotFoundError", r"Repo id must be",
        r"is not a valid model identifier", r"Invalid repository ID or local directory", r"LocalEntryNotFoundError",
        r"OfflineModeIsEnabled", r"couldn't find them in the cached files", r"couldn't connect to 'https://huggingface",
    ),
    symptom(
        "no-such-model", "end", _HUB,
        r"(?:huggingface|hf|modelscope)\S* ?.*Max retries exceeded", r"429 Client Error", r"HfHubHTTPError: 5\d\d ",
        r"CERTIFICATE_VERIFY_FAILED", r"^httpx\.(?:Connect|Read)(?:Error|Timeout): ",
    ),
    symptom(
        "not-installed", "end", _FETCH,
        r"Max retries exceeded with url", r"<urlopen error ", r"[Ee]rror downloading or loading",
        r"(?:Error|Exception): .*\b[Ff]ailed to download",
    ),
    symptom(
        "no-such-model", "start", "this release of the engine does not know the architecture: use a newer one",
        r"[Mm]odel architectures? .* (?:is|are) not supported", r"does not recognize this architecture",
        r"unknown model architecture", r"unknown projector type",
    ),
    symptom(
        "missing-file", "start", _MATCH,
        r"^gguf_init_from_\w+: ", r"clip_init: failed to load model", r"failed to load (?:multimodal|draft) model",
        r"error loading model: ",
    ),
    symptom(
        "disk-full", "start", "free space, or point HF_HOME and the caches elsewhere",
        r"[Nn]o space left on device", r"Disk quota exceeded",
    ),
)  # fmt: skip
