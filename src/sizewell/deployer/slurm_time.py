"""Whether the time a SLURM job asks for covers the start of its engine."""

from __future__ import annotations

import re

from sizewell.deployer.launch import Launch
from sizewell.deployer.slurm import NOTICE_S

_WITH_DAYS = re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?")
_WITHOUT = (
    re.compile(r"(?P<minutes>\d+)(?::(?P<seconds>\d+))?"),
    re.compile(r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)"),
)
_UNIT_S = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def limit_s(text: str) -> float | None:
    """Return the seconds of `--time`: minutes, `minutes:seconds`, `hours:minutes:seconds` or the same after `days-`.

    None for UNLIMITED and for what is no time.
    """
    for form in (_WITH_DAYS, *_WITHOUT):
        if found := form.fullmatch(text):
            return float(sum(int(number or 0) * _UNIT_S[unit] for unit, number in found.groupdict().items()))
    return None


def short_of_time(launch: Launch) -> str:
    """Return how `--time` falls short of the predicted start; empty where it covers that from the slowest storage.

    The scheduler gives notice two minutes early, and the engine ends then.
    """
    limit, loads = limit_s(launch.site.slurm.time), sorted(launch.materials.loads, key=lambda load: load.cold_s)
    if limit is None or limit - NOTICE_S >= loads[-1].cold_s:
        return ""
    never = limit - NOTICE_S < loads[0].cold_s
    load = loads[0] if never else loads[-1]
    return (
        f"--time {launch.site.slurm.time} {'ends' if never else 'may end'} it before it is ready: it is told to end "
        f"{NOTICE_S // 60} min early, and its start is predicted to take {load.cold_s / 60:.0f} min from "
        f"{load.storage}: ask for more"
    )
