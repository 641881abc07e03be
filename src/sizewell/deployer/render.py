"""Every target by name: a launch rendered to files, and files read back."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from sizewell.deployer import command, compose, kubernetes, slurm, systemd
from sizewell.deployer.launch import Launch
from sizewell.deployer.terms import Artefact

TARGETS: dict[str, ModuleType] = {
    "command": command, "compose": compose, "slurm": slurm, "kubernetes": kubernetes, "systemd": systemd,
}  # fmt: skip
"""Target → the module that renders it."""


def render(launch: Launch, target: str) -> Mapping[str, str]:
    """Return the files of a target by path; raises BadInputError for what the target or the engine cannot say."""
    files: Mapping[str, str] = TARGETS[target].render(launch)
    return files


def read_back(files: Mapping[str, str], target: str) -> Artefact:
    """Return what rendered files say."""
    said: Artefact = TARGETS[target].read(files)
    return said
