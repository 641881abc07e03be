"""rocm-smi's and amd-smi's JSON, whose names and wrappings changed from release to release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sizewell.observer.doctor.asking import Answer
from sizewell.observer.doctor.gpu_facts import GpuFacts, GpuState, Vendor

_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
"""amd-smi writes MB and means MiB."""


def parse_rocm_smi(answer: Answer, on_bus: tuple[Vendor, ...] = (), visible: str | None = None) -> GpuFacts:
    """Return what rocm-smi said: an object of `card0`, `card1`, … and `system`."""
    said = _document(answer)
    if not isinstance(said, dict):
        return _troubled("rocm-smi", answer, on_bus)
    cards = {key: value for key, value in said.items() if key.startswith("card") and isinstance(value, dict)}
    gpus = [_card(int(key[4:]), {name.lower(): value for name, value in card.items()}) for key, card in cards.items()]
    system = said.get("system")
    driver = system.get("Driver version") if isinstance(system, dict) else None
    return GpuFacts(vendor="amd", driver=driver, gpus=tuple(gpus), on_bus=on_bus, visible=visible)


def _card(index: int, said: Mapping[str, Any]) -> GpuState:
    names = [said.get(key) for key in ("card series", "card model", "card sku")]
    total, used = (_plain(said.get(f"vram total {key}memory (b)")) for key in ("", "used "))
    free = total - used if total is not None and used is not None else None
    return GpuState(
        index=index,
        name=next((str(name) for name in names if name and not str(name).startswith(("0x", "N/A"))), "an AMD board"),
        total_bytes=total,
        free_bytes=free,
    )


def parse_amd_smi(answer: Answer, on_bus: tuple[Vendor, ...] = (), visible: str | None = None) -> GpuFacts:
    """Return what `amd-smi static` said: a list, since ROCm 7 under `gpu_data`; what is free it does not say."""
    said = _document(answer)
    rows = said.get("gpu_data", [said]) if isinstance(said, dict) else said
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return _troubled("amd-smi", answer, on_bus)
    gpus = tuple(
        GpuState(
            index=int(row.get("gpu", place)),
            name=str(_inside(row, "asic", "market_name") or "an AMD board"),
            total_bytes=_sized(_inside(row, "vram", "size")),
        )
        for place, row in enumerate(rows)
    )
    driver = _inside(rows[0], "driver", "version") if rows else None
    return GpuFacts(vendor="amd", driver=driver, gpus=gpus, on_bus=on_bus, visible=visible)


def _document(answer: Answer) -> Any:
    """Return the JSON in an answer, which warnings may precede; None where there is none."""
    start = min((place for place in map(answer.out.find, "{[") if place >= 0), default=-1)
    if answer.problem or start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(answer.out[start:])[0]
    except ValueError:
        return None


def _troubled(tool: str, answer: Answer, on_bus: tuple[Vendor, ...]) -> GpuFacts:
    if not answer.problem and "amd" not in on_bus:
        return GpuFacts(vendor="none", on_bus=on_bus)  # installed on a machine without such a board
    said = "does not answer" if answer.problem == "hung" else answer.complaint
    return GpuFacts(vendor="amd", trouble=f"{tool} {said}", on_bus=on_bus)


def _inside(row: Mapping[str, Any], group: str, name: str) -> Any:
    inner = row.get(group)
    return inner.get(name) if isinstance(inner, dict) else None


def _sized(size: Any) -> float | None:
    value, unit = (size.get("value"), size.get("unit")) if isinstance(size, dict) else (size, "MB")
    number = _plain(value)
    return None if number is None else number * _UNITS.get(str(unit), 2**20)


def _plain(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
