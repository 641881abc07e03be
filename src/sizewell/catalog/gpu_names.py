"""Which accelerator a name means: keys, aliases and the many spellings of engine logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sizewell.catalog.facts import Facts
from sizewell.catalog.overlay import remembered_files
from sizewell.specs.errors import UnknownNameError
from sizewell.specs.hardware import GpuSpec

_MAKERS = re.compile(r"\((r|tm)\)|\b(nvidia|amd|intel|geforce|instinct|tesla)\b")
_IN_PARENTHESES = re.compile(r"\(([^)]*)\)")
_SIZE = re.compile(r"(?<![0-9a-z])(\d{1,3})(?:-\d{1,3})? ?G(?:i?B)?\b", re.IGNORECASE)
_TOTAL = re.compile(r"(\d+(?:\.\d+)?) ?(GiB|MiB)(?! free)")
_OTHER_CHIP = ("ti", "super", "laptop", "pro", "ada")
_MIB_PER_GIB = 1024
_GIB = 2**30
_SAME_MEMORY = 0.06
"""Drivers hide up to this share of the fitted memory; more means another variant."""
_OTHER_MEMORY = 0.15
"""A named accelerator whose total is further off is a variant the catalogue lacks, or a slice of one."""


def plain(name: str) -> str:
    """Return a name without makers' words, case, spaces and dashes: `NVIDIA RTX-4090` and `rtx4090` are one."""
    words = _MAKERS.sub(" ", name.lower())
    return re.sub(r"[^a-z0-9]", "", words) or re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def gpu_heads(own: Path) -> tuple[Facts, ...]:
    """Return names and aliases of every accelerator; rates and sources are not read."""
    return tuple(Facts.head(path) for path in remembered_files("gpus", own).values())


@cache
def gpu_keys_by_name(own: Path) -> dict[str, str]:
    """Return the key of each plain name: a user's alias beats a shipped one, a key any alias, an alias a log's name."""
    heads = gpu_heads(own)
    logged = {plain(name): head.text("key") for head in reversed(heads) for name in head.texts("names_in_logs")}
    full = {plain(head.text("name")): head.text("key") for head in heads}
    aliased = {plain(alias): head.text("key") for head in heads for alias in head.texts("aliases")}
    return logged | full | aliased | {plain(head.text("key")): head.text("key") for head in heads}


def gpu_names(own: Path) -> list[str]:
    """Return every name an error may suggest."""
    return [name for head in gpu_heads(own) for name in (*head.texts("aliases"), head.text("key"))]


def gpu_key_in_log(name: str, memory_gib: float | None, gpus: Sequence[GpuSpec], *, name_alone: bool) -> str:
    """Return the key of the accelerator a log names, e.g. `NVIDIA A100-SXM4-40GB` or `A10/L4-24GB (22.06 GiB)`.

    Several names (`A10/L4`) and shared names are decided by memory, a bare size (`24GB class`) by the likeliest
    of it unless `name_alone`.
    """
    remark = " ".join(_IN_PARENTHESES.findall(name))
    bare = _IN_PARENTHESES.sub(" ", name)
    total_gib = memory_gib or _total_gib(remark)
    size_gib = None if total_gib else _size_gib(bare)
    spelt = [part for part in f"{bare}/{remark.rpartition(',')[2]}".split("/") if plain(part)]
    meant = list(dict.fromkeys(key for part in spelt for key in _named(part, gpus)))
    by_key = {gpu.key: gpu for gpu in gpus}
    misfit = {gpu.key: _misfit(gpu, total_gib, size_gib) for gpu in gpus}
    best = min(meant, key=lambda key: max(misfit[key], _SAME_MEMORY), default=None)
    if best and not (total_gib and misfit[best] > _OTHER_MEMORY):
        return best
    alike = [key for key, off in misfit.items() if off < _SAME_MEMORY and by_key[key].kind == "gpu"]
    if best or name_alone or not alike or not (total_gib or size_gib):
        raise UnknownNameError("GPU in log", name, [log for gpu in gpus for log in gpu.names_in_logs])
    return min(alike, key=lambda key: (*_rarity(by_key[key]), misfit[key]))


def _named(part: str, gpus: Sequence[GpuSpec]) -> list[str]:
    """Return the keys a spelling may mean: exact names first, then the variants of the same chip."""
    said, chip = plain(part), plain(_SIZE.sub(" ", part))
    exact = [gpu.key for gpu in gpus if said in {plain(name) for name in (*gpu.names_in_logs, *gpu.aliases, gpu.key)}]
    variants = [gpu.key for gpu in gpus if chip and chip in {plain(start) for start in _starts(gpu.key)}]
    plain_alias = [gpu.key for gpu in gpus if chip in {plain(alias) for alias in gpu.aliases}]
    return exact + plain_alias + variants


def _starts(key: str) -> list[str]:
    """Return the beginnings of a key that name the chip: all but those a `ti` or `super` makes another one."""
    words = key.split("-")
    chip = max((place for place, word in enumerate(words, 1) if word in _OTHER_CHIP), default=1)
    return ["-".join(words[:count]) for count in range(chip, len(words) + 1)]


def _misfit(gpu: GpuSpec, total_gib: float | None, size_gib: float | None) -> float:
    if total_gib:
        return abs(gpu.total_bytes / _GIB / total_gib - 1)
    return abs(gpu.memory_bytes / _GIB / size_gib - 1) if size_gib else 0.0


def _rarity(gpu: GpuSpec) -> tuple[bool, int]:
    """Return a sort key that puts accelerators seen in logs first, and among them data-centre boards."""
    return gpu.reported_bytes is None, {"sxm": 0, "pcie": 1}.get(gpu.form_factor, 2)


def _total_gib(remark: str) -> float | None:
    found = _TOTAL.search(remark)
    return float(found[1]) / (_MIB_PER_GIB if found[2] == "MiB" else 1) if found else None


def _size_gib(text: str) -> float | None:
    found = _SIZE.search(text)
    return float(found[1]) if found else None
