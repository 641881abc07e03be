"""What an exception of unknown wording is about, from the code that raised it and from what the engine was doing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizewell.observer.logs.symptoms.symptom import Symptom, symptom

_REFUSED = (
    "most likely this release does not do what was asked for, or not for this model: change the setting it names, or "
    "use another release; `sizewell render` writes the flags it knows"
)
_WEIGHTS = (
    "most likely the weights are not what this release makes of their config: the checkpoint is incomplete, of another "
    "format or newer than the engine"
)
_KERNELS = (
    "most likely a kernel of this release cannot do this on this GPU: choose another backend (--attention-backend, "
    "--moe-backend), another weight format or a newer release"
)
_REFUSAL = r"(?:\w+\.)*(?:Value|NotImplemented|Assertion)Error\b"


@dataclass(frozen=True, slots=True)
class _Origin:
    """Code, as `file in function`, and exceptions that, raised there, are of one symptom."""

    place: re.Pattern[str]
    exception: re.Pattern[str]
    symptom: Symptom


def _origin(place: str, exception: str, told: Symptom) -> _Origin:
    return _Origin(re.compile(place), re.compile(exception), told)


_SETTINGS = symptom("bad-flag", "end", _REFUSED, _REFUSAL)
_ORIGINS = (
    _origin(
        r" in (?!process_|create_|get_)(?:\w*weight\w*|_load_w\d+|_load_single_value)$",
        r"(?:Key|Value|Assertion|Attribute|Runtime|Index)Error\b",
        symptom("missing-file", "end", _WEIGHTS, ""),
    ),
    _origin(
        r"^(?:vllm/(?:_custom_ops|vllm_flash_attn|third_party)|sgl_kernel|flashinfer|flash_attn|flash_mla|deep_gemm"
        r"|aiter|triton|tilelang)\b",
        r"(?:\w+\.)*\w+Error\b",
        symptom("bad-flag", "end", _KERNELS, ""),
    ),
    _origin(
        r"^vllm/(?:config\b|engine/arg_utils|platforms/|lora/|reasoning/|tool_parsers/|spec_decode/|attention/"
        r"|entrypoints/openai/(?:cli_args|tool_parsers|reasoning)|v1/(?:attention|spec_decode)/"
        r"|model_executor/layers/quantization/)"
        r"|^sglang/srt/(?:server_args|arg_groups|configs/|speculative/|lora/|parser/|function_call/"
        r"|layers/(?:attention|quantization)/)"
        r"|^(?:vllm/model_executor|sglang/srt)/(?:layers|models)/\S+ in (?:__init__|get_\w+)$",
        _REFUSAL,
        _SETTINGS,
    ),
)
_BEFORE_WEIGHTS = re.compile(r"(?:Value|NotImplemented)Error: ")


def suspicion(exception: str, place: str, *, before_weights: bool) -> Symptom | None:
    """Return what an exception is most likely about, or None.

    Before weights are read an engine looks at what it was asked for and at little else.
    """
    for origin in _ORIGINS:
        if origin.place.search(place) and origin.exception.match(exception):
            return origin.symptom
    return _SETTINGS if before_weights and _BEFORE_WEIGHTS.match(exception) else None
