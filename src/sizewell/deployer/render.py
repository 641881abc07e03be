"""Every target by name: a launch rendered to files, and files read back."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from sizewell.deployer import (
    command,
    compose,
    kubernetes,
    slurm,
    split_command,
    split_compose,
    split_kubernetes,
    split_slurm,
    split_systemd,
    systemd,
)
from sizewell.deployer.launch import Launch
from sizewell.deployer.terms import Artefact

TARGETS: dict[str, ModuleType] = {
    "command": command, "compose": compose, "slurm": slurm, "kubernetes": kubernetes, "systemd": systemd,
}  # fmt: skip
"""Target → the module that renders it, and reads back one pool or two."""
SPLIT_TARGETS: dict[str, ModuleType] = {
    "command": split_command, "compose": split_compose, "slurm": split_slurm, "kubernetes": split_kubernetes,
    "systemd": split_systemd,
}  # fmt: skip
"""Target → the module that renders pools of prefill and decode with the router before them."""


def render(launch: Launch, target: str) -> Mapping[str, str]:
    """Return the files of a target by path; raises BadInputError for what the target or the engine cannot say."""
    by_target = SPLIT_TARGETS if launch.split else TARGETS
    files: Mapping[str, str] = by_target[target].render(launch)
    return files


def read_back(files: Mapping[str, str], target: str) -> Artefact:
    """Return what rendered files say."""
    said: Artefact = TARGETS[target].read(files)
    return said
