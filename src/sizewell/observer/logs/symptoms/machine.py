"""What the node and its scheduler say: accelerators and drivers that refuse, machines and time taken away."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.symptom import symptom

_NCCL = "start again with NCCL_DEBUG=WARN: it names the call; /dev/shm may be too small, GPUs may not reach each other"
_DRIVER = "the GPU or its driver refuses: see nvidia-smi and `sizewell doctor`; use an engine built for this driver"
_ONE_EACH = (
    "two ranks share a GPU: give every rank its own, by CUDA_VISIBLE_DEVICES and as many GPUs as the cut asks for"
)
_PEERS = (
    "GPUs do not reach each other's memory the way the engine's own all-reduce does: leave it to NCCL with "
    "--disable-custom-all-reduce"
)
_BY_NUMBER = "name GPUs by number in CUDA_VISIBLE_DEVICES: this release reads no UUIDs of GPUs or of their slices (MIG)"

MACHINE = (
    symptom("node-missing", "job", "a node failed: start again, without it (--exclude)", r"DUE TO NODE FAILURE"),
    symptom(
        "cancelled", "job", "the scheduler took the machines back: start again, or where it does not",
        r"DUE TO PREEMPTION",
    ),
    symptom(
        "walltime", "job", "ask for more time (--time), or start sooner after the allocation",
        r"DUE TO TIME LIMIT",
    ),
    symptom("driver", "start", _BY_NUMBER, r"invalid literal for int\(\) with base 10: '(?:GPU|MIG)-"),
    symptom(
        "driver", "start", _DRIVER,
        r"NVIDIA driver on your system is too old", r"driver version is insufficient", r"no kernel image is available",
        r"Failed to infer device type", r"No (?:CUDA|HIP) GPUs are available", r"Found no NVIDIA driver",
        r"CUDA unknown error", r"error: invalid device function", r"Memory access fault by GPU", r"HSA_STATUS_ERROR",
        r"system not yet initialized", r"forward compatibility was attempted", r"unsupported toolchain",
        r"uncorrectable ECC error", r"lib(?:cuda|cudart|cublas|amdhip64)\S*: cannot open shared object",
        r"invalid device ordinal", r"busy or unavailable", r"peer access is not supported", r"^ptxas\b.*\bfatal\b",
        r"ErrorDeviceLost|DeviceLostError",
        r"Driver/library version mismatch", r"nvidia-container-cli: ", r"could not select device driver",
        r"cannot start without GPU",
    ),
    symptom(
        "driver", "end", _DRIVER,
        r"no CUDA-capable device is detected", r"HIP error: invalid argument",
        r"(?:(?:CUDA|HIP|ROCm) (?:driver )?error|Triton Error \[\w+\]): "
        r"(?:unknown error|initialization error|device kernel image is invalid"
        r"|operation not supported|the launch timed out|invalid device\b|driver shutting down|.*\bMPS\b)",
    ),
    symptom("driver", "end", _PEERS, r"^Failed: C[Uu][Dd][Aa] error \S*custom_all_reduce"),
    symptom("driver", "hint", _ONE_EACH, r"NCCL WARN Duplicate GPU detected"),
    symptom("driver", "end", _ONE_EACH, r"^Duplicate GPU detected", r"NCCL [Ee]rror\b.*: ?.*invalid usage"),
    symptom("driver", "end", _NCCL, r"unhandled cuda error"),
)  # fmt: skip
