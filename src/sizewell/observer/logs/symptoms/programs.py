"""The engine, its container or a tool it compiles with is not where it runs, or does not fit what else is there."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.symptom import symptom

_INSTALL = (
    "the engine is not installed where this runs: see --style and --environment, `sizewell doctor` on that node, and "
    "that the engine starts there by hand"
)
_TOOLS = (
    "the engine compiles kernels here and lacks a tool, or has one it cannot use: install gcc, Python headers and "
    "ninja, and the CUDA toolkit (nvcc) of the release the engine was built with"
)
_RELEASES = (
    "a library is of another release than the engine was made for: install the engine anew in an environment of its "
    "own, with the releases it asks for"
)
_ALIKE = "nodes differ in their releases: start them all from one environment or one image"
_PROCESSOR = "the build uses instructions this processor lacks: take one made for it, or build the engine on this node"
_USER = (
    "the user has no name or no home of its own inside the container: run it as one the image knows, or set USER and "
    "TORCHINDUCTOR_CACHE_DIR, and HOME to a folder it may write to"
)
_START = (
    "the container cannot be started on this node: see the lines before, start a shell in it there by hand, and leave "
    "out mounts that it has no place for"
)
_PULL = "the image cannot be had: check its name, registry and credentials, or pull it once and name the file"

PROGRAMS = (
    symptom(
        "not-installed", "start", _USER,
        r"getpwuid\(\): uid not found",
    ),
    symptom("not-installed", "end", _USER, r"PermissionError: \[Errno 13\] Permission denied: '(?:/root)?/\.\w"),
    symptom(
        "missing-file", "start", _PULL,
        r"pyxis: failed to import docker image", r"pyxis: +(?:\[ERROR\] URL|mkdir:|curl:) ",
        r"[Ww]hile making image from \w+ registry", r"[Uu]nable to (?:handle|pull) \w+://",
        r"pull access denied for|manifest (?:unknown|for \S+ not found)",
    ),
    symptom(
        "not-installed", "start", _START,
        r"enroot\S*: failed to ", r"pyxis: couldn't start container", r"^container creation failed: ",
        r"exec format error",
    ),
    symptom(
        "not-installed", "start", _ALIKE,
        r"Version mismatch: The cluster was started with",
    ),
    symptom(
        "not-installed", "start", _PROCESSOR,
        r"\bIllegal instruction\b",
    ),
    symptom(
        "not-installed", "start", _INSTALL,
        r"(?:vllm|vllm-router|sglang|llama-server|ray|python3?|conda|module|apptainer|docker): (?:command )?not found",
        r"\bNo module named '?(?:vllm|sglang|ray)'?$", r"[Cc]ould not find conda environment",
        r"(?:CondaError|CommandNotFoundError): ", r"Lmod has detected the following error|module\(s\) are unknown",
        r"Unable to locate a modulefile", r"could not open image \S+: failed to retrieve path",
        r"/(?:vllm|vllm-router|sglang|llama-server|ray|python3?): No such file or directory$",
        r"executable file not found in \$PATH", r"bad interpreter: No such file",
        r"/env: \S+ No such file or directory", r"sizewell: the engine on node .* ended with 127$",
        r"slurmstepd\S*: error: execve\(\): ", r"version [`']GLIBC\w*\S* not found",
        r"error while loading shared libraries: (?!lib(?:cuda|cudart|cublas|amdhip64))",
        r"Failed to import Ray: ", r"Could not load any common_ops library",
        r"Model architectures .* failed to be inspected",
        r"is (?:installed with version \S+, which is )?less than the minimum required version",
        r"with minimum required version \S+ is not installed",
    ),
    symptom(
        "not-installed", "end", _TOOLS,
        r"Failed to find C compiler", r"Could not find nvcc", r"fatal error: \S+\.h(?:pp)?: No such file",
        r"No such file or directory: '(?:ninja|nvcc|gcc)'", r"[Nn]inja build failed|^ninja: build stopped",
        r"^nvcc fatal", r"CalledProcessError: Command '\[?'?[^' ]*(?:gcc|g\+\+|nvcc|ptxas|hipcc|clang|ninja)\b",
    ),
    symptom(
        "not-installed", "end", _INSTALL,
        r"^ModuleNotFoundError: ", r"^ImportError:(?: (?!lib(?:cuda|cudart|cublas|amdhip64))|$)",
        r"^OSError: lib(?!cuda|cudart|cublas|amdhip64)\S+: cannot open shared object file",
    ),
    symptom(
        "not-installed", "end", _RELEASES,
        r"^AttributeError: (?!'NoneType')\S+ .*has no attribute", r"^TypeError: .*got an unexpected keyword argument",
    ),
)  # fmt: skip
