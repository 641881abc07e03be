"""The flags of engine releases, read from data that tools/engine_flags.py extracts from the released packages."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from sizewell.specs.engine import EngineName
from sizewell.specs.engine_flags import EngineFlags, ProgramName, RouterName
from sizewell.specs.errors import BadInputError

_FOLDER = files("sizewell.catalog") / "data" / "engine_flags"
Release = tuple[int, ...]
ROUTERS: dict[EngineName, RouterName] = {"vllm": "vllm-router", "sglang": "sglang-router"}
"""Engine → the router its project publishes for pools of prefill and decode."""


def list_flag_releases(engine: ProgramName) -> tuple[str, ...]:
    """Return the releases of an engine whose flags were read, oldest first."""
    return tuple(_table(engine)["releases"])


@cache
def read_engine_flags(engine: ProgramName, version: str) -> EngineFlags:
    """Return the flags of a version: those of the newest release read that is not newer, with a note if it is older.

    A version that names no release (a date, `nightly`) gets those of the newest. Raises BadInputError for a version
    older than every release read.
    """
    facts = _table(engine)
    releases: list[str] = facts["releases"]
    wanted = _release(version) or _release(releases[-1])
    reached = [release for release in releases if _release(release) <= wanted]
    if not reached:
        raise BadInputError(f"the flags of {engine} {version} were not read: the oldest known are {releases[0]}'s")
    chosen = reached[-1]
    return EngineFlags(
        engine=engine,
        release=chosen,
        values=_present(facts["values"], releases, chosen),
        switches=_present(facts["switches"], releases, chosen),
        environment=_present(facts["environment"], releases, chosen),
        choices=_present(facts.get("choices", {}), releases, chosen),
        note="" if _release(chosen) == wanted else f"flags of {engine} {chosen}; those of {version} were not read",
    )


def read_router_flags(engine: EngineName) -> EngineFlags | None:
    """Return the flags of the newest router read for an engine's pools; None for an engine without one.

    A router is a package of its own: its release does not follow the engine's.
    """
    router = ROUTERS.get(engine)
    return None if router is None else read_engine_flags(router, list_flag_releases(router)[-1])


@cache
def _table(engine: ProgramName) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{engine}.toml").read_text())


def _release(text: str) -> Release:
    """Return a release as numbers, patch level included; empty for a text that names none."""
    build = re.fullmatch(r"b(\d+)", text)
    named = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(build[1]),) if build else tuple(int(part or 0) for part in named.groups()) if named else ()


def _present(ranges: dict[str, str], releases: list[str], chosen: str) -> frozenset[str]:
    place = releases.index(chosen)
    return frozenset(
        name for name, said in ranges.items() if any(_covers(part, releases, place) for part in said.split(", "))
    )


def _covers(part: str, releases: list[str], place: int) -> bool:
    first, _, last = part.partition("-")
    return releases.index(first) <= place <= (releases.index(last) if last else len(releases))
