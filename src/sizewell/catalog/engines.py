"""Engines by name and version: the memory rules of each release, read from data files."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Any, cast

from sizewell.catalog.engine_flags import list_flag_releases
from sizewell.specs.engine import BatchDefaults, CpuRules, EngineName, EngineSpec, PlainPrompts
from sizewell.specs.errors import BadInputError, UnknownNameError
from sizewell.specs.release import release_numbers

_GIB = 2**30
_FOLDER = files("sizewell.catalog") / "data" / "engines"
_RELEASE = re.compile(r"(?<![\d.-])(\d+)\.(\d+)(?:\.(\d+))?(?![\dx])")
_BUILD = re.compile(r"b(\d+)", re.ASCII)
"""llama.cpp's b6100: it has build numbers and no versions."""
_VERSION = re.compile(
    r"v?\d+(\.\d+){1,3}([.-]?(post|dev|rc|a|b)\d*)*(\+[a-z0-9.]+)?( V[01])?", re.ASCII | re.IGNORECASE
)
"""0.19, v0.8.5.post1, 0.33.0.dev1+cu129; V0 behind it is vLLM's first engine."""
_SERIES = re.compile(r"\d+\.\d+", re.ASCII)
_NAMED = {"llama.cpp": _BUILD}
"""What releases of an engine are called; all others have versions."""
_DATE = re.compile(r"(20\d\d)(?:-(\d\d))?")
_MIDDLE_OF_YEAR = 6
_PLAIN = (
    "era", "memory_fraction", "profile", "launch", "pp_remainder", "in_flight_batches", "block_tokens", "grouped_cache",
    "printed_tokens", "sampler_copies", "sampler_rows", "hidden_copies", "forward_copies", "experts_share_buffers",
    "grouped_fp8_experts", "keeps_expert_buffers", "sparse_gather_contexts", "graphs_in_budget", "capture_factor",
    "capture_limit", "capture_coarse_step", "context_in_baseline", "embedding_on_host", "latent_rope_bytes",
    "mxfp4_padding", "absorbed", "latent_head_on_all", "encoder_copies", "sort_free_copies", "sampler_buffer_rows",
    "kept_fp8_experts", "marlin_copies_inputs", "widens_encoder_outputs",
)  # fmt: skip
"""Fields of an era that go into an EngineSpec as they are."""


_SHARED = (
    "absorbed", "latent_head_on_all", "mla_row_elements", "latent_rope_bytes", "mxfp4_padding", "marlin_copies_inputs",
)  # fmt: skip
"""What vLLM's two engines had in common while both were shipped: the model code and its cache rows."""


def list_engines() -> tuple[str, ...]:
    """Return the names of the engines whose rules are known."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))
    )


def read_engine(name: str, version: str | None = None) -> EngineSpec:
    """Return an engine's rules for a version as people write it: `0.8.5.post1`, `0.6.5.dev(PR)`, `2025-07`, `nightly`.

    They are those of a server that is told nothing, as others measured it. No version means the latest known. A version
    of which only the date is known is taken as the release of that month; `V0` in the text keeps vLLM's first engine.
    `EngineSpec.note` says what was assumed. Raises UnknownNameError.
    """
    return _read(_engine_key(name), version, started=False)


def read_named_engine(text: str) -> EngineSpec:
    """Return the engine that `vllm@0.19` or `llama.cpp@b6100` names; the newest known without a version.

    Its rules are those of a server that we start: what `render` tells it beyond the deployment counts (`started` in the
    data). `vllm@0.8` is the newest of that series whose flags were read, 0.8.5. Raises UnknownNameError, and
    BadInputError for a version that is no release: rules, flags, images and words of an engine are those of one.
    """
    name, _, version = text.partition("@")
    key = _engine_key(name)
    if version and not _NAMED.get(key, _VERSION).fullmatch(version):
        raise BadInputError(f"{version!r} is no release of {key}: say one, as {key}@{read_engine(key).version}")
    return _read(key, _newest_of_series(key, version.removeprefix("v")) or None, started=True)


def _newest_of_series(key: str, version: str) -> str:
    """Return the newest release read of a series that two numbers name; the version as it is where none was read."""
    if not _SERIES.fullmatch(version) or version == _facts(key)["latest"]:
        return version
    read = [release for release in list_flag_releases(cast("EngineName", key)) if release.startswith(f"{version}.")]
    return read[-1].removesuffix(".0") if read else version


@cache
def _read(key: str, version: str | None, *, started: bool) -> EngineSpec:
    facts = _facts(key)
    eras, note = _resolve(facts, version or "")
    merged: dict[str, Any] = {}
    for era in (*eras, *(_told(facts, version or facts["latest"]) if started else ())):
        merged |= era
    return _spec(key, version or facts["latest"], merged, note)


@cache
def _facts(key: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((_FOLDER / f"{key}.toml").read_text())
    return found


def _engine_key(name: str) -> str:
    wanted = name.strip().lower().replace("llamacpp", "llama.cpp")
    if wanted not in list_engines():
        raise UnknownNameError("engine", name, list_engines())
    return wanted


def _resolve(facts: dict[str, Any], version: str) -> tuple[list[dict[str, Any]], str]:
    """Return the eras up to the one in force, oldest first, and a note on what was assumed."""
    eras: list[dict[str, Any]] = facts["eras"]
    chosen, note = _up_to(eras, version, facts["latest"])
    if re.search(r"\bV0\b", version, re.IGNORECASE):
        first = [era for era in chosen if era.get("profile", "v0") == "v0"][: _first_v1(eras)]
        later = [{key: era[key] for key in _SHARED if key in era} for era in chosen[len(first) :]]
        chosen = [*first, *later]
    return chosen, note


def _first_v1(eras: list[dict[str, Any]]) -> int:
    return next((n for n, era in enumerate(eras) if era.get("profile") == "v1"), len(eras))


def _up_to(eras: list[dict[str, Any]], version: str, latest: str) -> tuple[list[dict[str, Any]], str]:
    if numbered := _numbered(version):
        wanted, early = numbered
        chosen = [
            era for era in eras if _release(era["from"]) < wanted or (_release(era["from"]) == wanted and not early)
        ]
        if wanted > _release(latest):
            return chosen, f"{version} is newer than {latest}, the last release whose rules were read"
        return chosen or eras[:1], "" if chosen else f"{version} is older than any release whose rules were read"
    date = _DATE.search(version)
    if date:
        month = f"{date.group(1)}-{int(date.group(2) or _MIDDLE_OF_YEAR):02d}"
        chosen = [era for era in eras if era["date"] <= month] or eras[:1]
        return chosen, f"version not stated, taken as the release of {month}: {chosen[-1]['from']}"
    return eras, f"version {version!r} names no release, taken as {latest}" if version else ""


def _told(facts: dict[str, Any], version: str) -> list[dict[str, Any]]:
    """Return what a server of a release is made to do because we start it, whatever it does by itself."""
    numbered = _numbered(version)
    return [each for each in facts.get("started", ()) if numbered and _release(each["from"]) <= numbered[0]]


def _numbered(version: str) -> tuple[tuple[int, ...], bool] | None:
    """Return the release a text names and whether it is an early build of it; None for one that names none."""
    if build := _BUILD.match(version):
        return _release(build[1]), False
    release = _RELEASE.search(re.sub(r"(?<=\.\d)x\b", "0", version))
    if release is None:
        return None
    early = re.match(r"\.?(?:dev|rc)", version[release.end() :])
    return tuple(int(part or 0) for part in release.groups()), early is not None


def _release(text: str) -> tuple[int, ...]:
    parts = release_numbers(text)
    return (*parts, *[0] * (3 - len(parts)))


def _spec(name: str, version: str, facts: dict[str, Any], note: str) -> EngineSpec:
    plain = {key: facts[key] for key in _PLAIN}
    sizes = {
        "non_torch_bytes_tp1": "non_torch_gib_tp1", "non_torch_bytes_tp": "non_torch_gib_tp",
        "non_torch_bytes_per_rank": "non_torch_gib_per_rank", "non_torch_bytes_tp_plain": "non_torch_gib_tp_plain",
        "graph_bytes": "graph_gib", "graph_bytes_per_layer": "graph_gib_per_layer",
        "graph_bytes_per_moe_layer": "graph_gib_per_moe_layer",
        "context_bytes": "context_gib", "collective_bytes": "collective_gib",
    }  # fmt: skip
    return EngineSpec(
        name=cast("EngineName", name),
        version=version,
        note=note,
        batch_defaults=tuple(_defaults(tier) for tier in facts["batch_defaults"]),
        mla_row_elements=facts.get("mla_row_elements") or None,
        fraction_rule=facts.get("fraction_rule", "fixed"),
        offload=facts.get("offload", "streams"),
        copied_from_tokens=facts.get("copied_from_tokens", 0),
        wide_output_groups=facts.get("wide_output_groups", False),
        expert_scale_copies=facts.get("expert_scale_copies", False),
        recurrent_prefixes=facts.get("recurrent_prefixes", False),
        cached_states=facts.get("cached_states", 0),
        state_element_bytes=facts.get("state_element_bytes"),
        conv_element_bytes=facts.get("conv_element_bytes", 2),
        mamba2_checkpoints=facts.get("mamba2_checkpoints", False),
        plain_prompts=_plain_prompts(facts) if "queued_launches" in facts else None,
        cpu=_cpu_rules(facts["cpu"]) if "cpu" in facts else None,
        **plain,
        **{field: facts[key] * _GIB for field, key in sizes.items()},
    )


def _plain_prompts(facts: dict[str, Any]) -> PlainPrompts:
    return PlainPrompts(**{field.name: facts[field.name] for field in fields(PlainPrompts)})


def _cpu_rules(facts: dict[str, Any]) -> CpuRules:
    return CpuRules(
        block_tokens=facts["block_tokens"],
        latent_block_tokens=facts["latent_block_tokens"],
        state_element_bytes=facts["state_element_bytes"],
        process_bytes=facts["process_gib"] * _GIB,
        max_num_batched_tokens=facts["max_num_batched_tokens"],
        max_num_seqs=facts["max_num_seqs"],
    )


def _defaults(tier: dict[str, Any]) -> BatchDefaults:
    return BatchDefaults(
        memory_bytes_from=tier["memory_gib_from"] * _GIB,
        max_num_batched_tokens=tier["max_num_batched_tokens"],
        max_num_seqs=tier["max_num_seqs"],
        excluded_names=tuple(tier.get("excluded_names", ())),
    )
