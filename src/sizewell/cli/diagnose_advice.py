"""Who advises, and how a proposed change is started: the doors' part of a diagnosis."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sizewell.advisor.advice import Adviser
    from sizewell.advisor.diagnosis import Diagnosis
    from sizewell.specs.deployment import Deployment

AS_USUAL = {
    "model_path": None, "served_model_name": None, "host": "127.0.0.1", "port": 8000, "image": "",
    "router_image": "", "reasoning_parser": None, "trust_remote_code": None, "partition": None, "account": None,
    "constraint": None, "time": "1-00:00:00", "exclusive": True, "style": "none", "environment": None,
    "interface": None,
}  # fmt: skip


def adviser() -> Adviser:
    """Return an adviser with the user's calibration, who proposes only what an engine starts."""
    from sizewell.advisor.advice import Adviser
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.planner.support import unsupported

    def runs(deployment: Deployment) -> bool:
        gpu = deployment.cluster.gpu
        return not unsupported(deployment.model, deployment.weight_format, deployment.engine, gpu, asked=True)

    return Adviser(
        efficiencies=read_efficiencies(), runs=runs, starts=lambda each: bool(_command(each)), code=CodeFolder.usual()
    )


def rendered(deployment: Deployment | None, found: Diagnosis, model: str | None) -> str:
    """Return the engine's command line after the first change; empty where none is proposed or none changes it."""
    if deployment is None or not found.changes or found.changes[0].deployment == deployment:
        return ""
    return _command(found.changes[0].deployment, model)


def _command(changed: Deployment, model: str | None = None) -> str:
    """Return what starts one replica of a deployment, empty where the engine's release cannot be told so."""
    from sizewell.cli.launch_flags import launch_at
    from sizewell.deployer.render import render
    from sizewell.deployer.shell import read_engine
    from sizewell.specs.errors import SizewellError

    # Releases that know no launcher of their own over nodes are started by Ray, under SLURM.
    for target, launcher in (("command", "mp"), ("slurm", "ray")):
        try:
            site = {**AS_USUAL, "model": model or changed.model.name, "launcher": launcher}
            (text,) = render(launch_at(changed, site), target).values()
        except SizewellError:
            continue
        return " ".join(word if word.startswith("$") else shlex.quote(word) for word in read_engine(text))
    return ""
