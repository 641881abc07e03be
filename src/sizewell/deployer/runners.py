"""Every place a deployment can be started at, by name."""

from __future__ import annotations

from pathlib import Path

from sizewell.deployer.kubernetes_objects import Kubernetes
from sizewell.deployer.local import Local
from sizewell.deployer.slurm_job import Slurm
from sizewell.deployer.started import Runner, Started, Where

RUNNERS: dict[Where, type[Local] | type[Slurm] | type[Kubernetes]] = {
    "local": Local, "slurm": Slurm, "kubernetes": Kubernetes,
}  # fmt: skip
RENDERED: dict[Where, str] = {"local": "command", "slurm": "slurm", "kubernetes": "kubernetes"}
"""Place → the target that is rendered for it."""


def runner(started: Started, folder: Path) -> Runner:
    """Return what starts, watches and stops a deployment."""
    return RUNNERS[started.where](started, folder)
