"""Whether the time a SLURM job asks for covers the start of its engine."""

from __future__ import annotations

from sizewell.deployer.launch import Launch
from sizewell.deployer.slurm import NOTICE_S
from sizewell.deployer.slurm_queue import seconds


def short_of_time(launch: Launch) -> str:
    """Return how `--time` falls short of the predicted start; empty where it covers that from the slowest storage.

    The scheduler gives notice two minutes early, and the engine ends then.
    """
    limit, loads = seconds(launch.site.slurm.time), sorted(launch.materials.loads, key=lambda load: load.cold_s)
    if limit is None or limit - NOTICE_S >= loads[-1].cold_s:
        return ""
    never = limit - NOTICE_S < loads[0].cold_s
    load = loads[0] if never else loads[-1]
    return (
        f"--time {launch.site.slurm.time} {'ends' if never else 'may end'} it before it is ready: it is told to end "
        f"{NOTICE_S // 60} min early, and its start is predicted to take {load.cold_s / 60:.0f} min from "
        f"{load.storage}: ask for more"
    )
