"""Systemd units of a split deployment on one machine: one for each replica, and one for the router before them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sizewell.deployer import router, systemd, words
from sizewell.deployer.launch import Launch
from sizewell.deployer.placement import accelerators, on_this_machine, seats
from sizewell.specs.errors import BadInputError


def render(launch: Launch) -> Mapping[str, str]:
    """Return the units; raises BadInputError for more than one machine."""
    if launch.deployment.cluster.nodes > 1:
        raise BadInputError("a unit runs on one machine: render for slurm or kubernetes, or a plan of one node")
    systemd.refuse_open(launch)
    units, told_of = {}, list(router.flags(launch))
    for seat in seats(launch):
        mine, value_of = launch.parts[seat.part], partial(on_this_machine, launch, seat.number)
        role = mine.pool.role
        environment = systemd.environment(mine, value_of, accelerators(launch, seat))
        said = systemd.flag_lines(words.flags(mine), value_of)
        what = f"Engine {launch.name}, {role} replica {seat.replica}"
        unit = systemd.unit(launch, what, words.program(mine), environment, said)
        units[f"{launch.name}-{role}-{seat.replica}.service"] = unit
        places = (value_of(live) for live in router.PLACE)
        told_of.append(router.worker(launch, role, *places))
    said = systemd.flag_lines(told_of, partial(on_this_machine, launch, None))
    what, note = f"Router before the pools of {launch.name}", [f"# {router.note(launch)}"]
    units[f"{launch.name}-router.service"] = systemd.unit(launch, what, router.program(launch), note, said)
    return units
