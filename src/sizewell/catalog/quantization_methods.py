"""Reads the settings of each quantization method into encodings and ignore lists.

Understands fp8, fbgemm_fp8, awq, gptq, compressed-tensors, modelopt, quark, mxfp4, bitsandbytes, aqlm and MLX.
"""

from __future__ import annotations

from collections.abc import Callable

from sizewell.catalog.config_fields import Fields
from sizewell.catalog.module_names import Patterns
from sizewell.catalog.quantization import Quantization, Rule
from sizewell.catalog.quantization_encodings import (
    algorithm_encoding,
    fp8_encoding,
    group_size,
    integer_encoding,
    scheme_encoding,
)
from sizewell.specs.encoding import (
    BNB_NF4,
    BNB_NF4_DOUBLE,
    FP8_CHANNEL,
    FP8_TENSOR,
    INT8_CHANNEL,
    MXFP4,
    Encoding,
    int4_grouped,
    mlx_affine,
)


def read_quantization(config: Fields, text: Fields) -> Quantization | None:
    """Return the checkpoint's formats, None for a plain 16-bit one.

    Raises BadInputError for a method or a width we do not know.
    """
    for section in dict.fromkeys((config, text)):
        for name in ("quantization_config", "hf_quant_config", "quantization"):
            found = section.section(name)
            if found is not None:
                return _read(found, text)
    return None


def _read(found: Fields, text: Fields) -> Quantization | None:
    method = found.text("quant_method").lower() or _unnamed(found)
    if found.text("quant_algo") == "MIXED_PRECISION":
        method = "mixed" if method == "fp8" else "modelopt"
    reader = READERS.get(method)
    if reader is None:
        raise found.wrong("quant_method", method, f"one of {', '.join(sorted(READERS))}")
    return reader(found, text)


def _unnamed(found: Fields) -> str:
    """Return the method of a section that does not name it: each has fields the others lack."""
    if found.flag("load_in_4bit", False) or found.flag("load_in_8bit", False):
        return "bitsandbytes"
    return "mlx" if "bits" in found and "group_size" in found else "modelopt"


def _kept(found: Fields, *names: str) -> Patterns:
    listed = [word for name in names for word in (found.words(name) or ())]
    return Patterns(listed, found.source)


def _fp8(found: Fields, text: Fields) -> Quantization:
    kept = _kept(found, "modules_to_not_convert", "ignored_layers", "ignore")
    general = Rule(encoding=fp8_encoding(found))
    rules: tuple[Rule, ...] = (general,)
    if text.text("expert_dtype") == "fp4":
        rules = (Rule(encoding=MXFP4, modules=Patterns(["*.experts.*"], found.source)), general)
    return Quantization(rules=rules, kept=kept, kv_format=_kv_format(found))


def _mixed_fp8(found: Fields, text: Fields) -> Quantization:
    """FP8 everywhere but in the layers listed with another algorithm; `ignore` belongs to that algorithm alone."""
    del text
    listed = _listed_layers(found)
    return Quantization(
        rules=(*listed, Rule(encoding=fp8_encoding(found))),
        kept=_kept(found, "modules_to_not_convert"),
        kv_format=_kv_format(found),
    )


def _fbgemm(found: Fields, text: Fields) -> Quantization:
    del text
    return Quantization(rules=(Rule(encoding=FP8_CHANNEL),), kept=_kept(found, "modules_to_not_convert"))


def _awq(found: Fields, text: Fields) -> Quantization:
    del text
    encoding = integer_encoding(found, zeros=found.flag("zero_point", True))
    return Quantization(rules=(Rule(encoding=encoding),), kept=_kept(found, "modules_to_not_convert"))


def _gptq(found: Fields, text: Fields) -> Quantization:
    del text
    encoding = integer_encoding(found, zeros=not found.flag("sym", True))
    skipped = found.section("dynamic")
    # A leading "-:" in GPTQModel's `dynamic` table excludes modules by expression.
    names = [f"re:{name[2:]}" for name in (skipped.values if skipped else ()) if name.startswith("-:")]
    kept = Patterns([*names, *(found.words("modules_to_not_convert") or ())], found.source)
    return Quantization(rules=(Rule(encoding=encoding),), kept=kept, everything=False)


def _compressed_tensors(found: Fields, text: Fields) -> Quantization:
    del text
    rules = [
        Rule(encoding=scheme_encoding(group.section("weights") or group, group, found), modules=_targets(group))
        for group in _groups(found)
    ]
    if not rules:
        raise found.wrong("config_groups", {}, "at least one group")
    ordered = sorted(rules, key=lambda rule: rule.modules is None)
    return Quantization(rules=tuple(ordered), kept=_kept(found, "ignore"), kv_format=_kv_format(found))


def _groups(found: Fields) -> list[Fields]:
    groups = found.section("config_groups")
    return [] if groups is None else [group for name in groups.values if (group := groups.section(name)) is not None]


def _targets(group: Fields) -> Patterns | None:
    targets = group.words("targets")
    if targets is None or "Linear" in targets:
        return None
    return Patterns(targets, group.source)


def _modelopt(found: Fields, text: Fields) -> Quantization | None:
    del text
    inner = found.section("quantization") or found
    kept = _kept(inner, "exclude_modules", "ignore")
    algorithm = inner.text("quant_algo").upper()
    kv_format = _kv_format(inner)
    if algorithm == "MIXED_PRECISION" or "quantized_layers" in inner:
        return Quantization(rules=_listed_layers(inner), kept=kept, kv_format=kv_format)
    if algorithm:
        return Quantization(
            rules=(Rule(encoding=algorithm_encoding(inner, algorithm)),), kept=kept, kv_format=kv_format
        )
    return _compressed_tensors(inner, inner) if _groups(inner) else None


def _listed_layers(found: Fields) -> tuple[Rule, ...]:
    layers = found.section("quantized_layers")
    names: dict[str, list[str]] = {}
    for name in layers.values if layers else ():
        entry = layers.section(name) if layers else None
        names.setdefault(entry.text("quant_algo").upper() if entry else "", []).append(name)
    if not names:
        raise found.wrong("quantized_layers", None, "an object of modules and their algorithms")
    rules = [
        Rule(encoding=algorithm_encoding(found, algorithm), modules=Patterns(modules, found.source))
        for algorithm, modules in names.items()
    ]
    return tuple(sorted(rules, key=lambda rule: rule.encoding.bits_per_weight))


def _quark(found: Fields, text: Fields) -> Quantization:
    del text
    everywhere = found.section("global_quant_config")
    weight = everywhere.section("weight") if everywhere else None
    if weight is None:
        raise found.wrong("global_quant_config", None, "an object with weight")
    kind, scheme = weight.text("dtype"), weight.text("qscheme", "per_tensor")
    known = {
        ("fp8_e4m3", "per_tensor"): FP8_TENSOR, ("fp8_e4m3", "per_channel"): FP8_CHANNEL,
        ("fp4", "per_group"): MXFP4, ("int8", "per_channel"): INT8_CHANNEL,
        ("int4", "per_group"): int4_grouped(group_size(weight) or 128, zeros=True),
    }  # fmt: skip
    encoding = known.get((kind, scheme))
    if encoding is None:
        raise weight.wrong("dtype", f"{kind} {scheme}", "fp8_e4m3, fp4, int8 or int4")
    return Quantization(rules=(Rule(encoding=encoding),), kept=_kept(found, "exclude"), kv_format=_kv_format(found))


def _mxfp4(found: Fields, text: Fields) -> Quantization:
    del text
    kept = _kept(found, "modules_to_not_convert")
    return Quantization(rules=(Rule(encoding=MXFP4),), kept=kept, experts_only=True)


def _bitsandbytes(found: Fields, text: Fields) -> Quantization:
    del text
    encoding = INT8_CHANNEL
    if found.flag("load_in_4bit", False):
        encoding = BNB_NF4_DOUBLE if found.flag("bnb_4bit_use_double_quant", False) else BNB_NF4
    return Quantization(rules=(Rule(encoding=encoding),), kept=_kept(found, "llm_int8_skip_modules"))


def _aqlm(found: Fields, text: Fields) -> Quantization:
    del text
    inputs, bits = found.size("in_group_size"), found.size("nbits_per_codebook")
    books = found.size("num_codebooks", 1)
    if bits > 24:
        raise found.wrong("nbits_per_codebook", bits, "at most 24")
    width = books * bits / inputs / found.size("out_group_size", 1)
    encoding = Encoding(
        name=f"aqlm-{width:g}bit", bits_per_weight=width, compute="fp16", scale_bytes=2, group_rows=1,
        extra_bytes=books * 2**bits * inputs * 2,
    )  # fmt: skip
    return Quantization(rules=(Rule(encoding=encoding),), kept=_kept(found, "linear_weights_not_to_quantize"))


def _mlx(found: Fields, text: Fields) -> Quantization:
    """MLX: every linear layer and the embedding, with overrides per module (false keeps one wide)."""
    del text
    general = _mlx_encoding(found, found.size("bits"), found.size("group_size"))
    kept = [name for name, value in found.values.items() if value is False]
    rules = []
    for name, value in found.values.items():
        if isinstance(value, dict) and (own := found.section(name)) is not None:
            encoding = _mlx_encoding(own, own.size("bits"), own.size("group_size"))
            rules.append(Rule(encoding=encoding, modules=Patterns([name], found.source)))
    return Quantization(rules=(*rules, Rule(encoding=general)), kept=Patterns(kept, found.source), everything=True)


def _mlx_encoding(found: Fields, bits: int, group: int) -> Encoding:
    if bits not in (2, 3, 4, 5, 6, 8):
        raise found.wrong("bits", bits, "2, 3, 4, 5, 6 or 8")
    if found.text("mode") == "mxfp4":
        return MXFP4
    return mlx_affine(bits, group)


def _none(found: Fields, text: Fields) -> None:
    del found, text


READERS: dict[str, Callable[[Fields, Fields], Quantization | None]] = {
    "fp8": _fp8, "mixed": _mixed_fp8, "fbgemm_fp8": _fbgemm, "awq": _awq, "gptq": _gptq, "gptq_marlin": _gptq,
    "awq_marlin": _awq, "compressed-tensors": _compressed_tensors, "modelopt": _modelopt, "modelopt_fp4": _modelopt,
    "quark": _quark, "mxfp4": _mxfp4, "bitsandbytes": _bitsandbytes, "aqlm": _aqlm, "mlx": _mlx, "none": _none,
}  # fmt: skip
"""The reader of each method's settings."""


def _kv_format(found: Fields) -> str:
    """Return the cache format the checkpoint asks for: FP8 in several spellings, else the engine's own choice."""
    for name in ("kv_cache_quant_algo", "kv_cache_scheme"):
        value = found.values.get(name)
        if value is None:
            continue
        if isinstance(value, dict):
            scheme = found.section(name)
            bits = scheme.count("num_bits", 0) if scheme else 0
            return {8: "fp8", 4: "nvfp4"}.get(bits, "auto")
        return {"FP8": "fp8", "STATIC": "fp8", "NVFP4": "nvfp4"}.get(found.text(name).upper(), "auto")
    return "auto"
