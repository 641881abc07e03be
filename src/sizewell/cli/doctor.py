"""`sizewell doctor`: is this machine fit to serve, before weights load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    OnceCommand,
    as_json,
    assume,
    deployment_flags,
    format_flags,
    settings_flags,
    setup_of,
    stack,
    workload_flags,
    workload_of,
)
from sizewell.cli.output import talk
from sizewell.cli.plan_source import source_flags
from sizewell.cli.pool_flags import pool_flags
from sizewell.specs.errors import BadInputError, MissedGateError, SizewellError, UnknownNameError

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator
    from sizewell.deployer.launch import Launch
    from sizewell.observer.doctor.needs import Known, Needs, Place
    from sizewell.planner.bill_of_materials import BillOfMaterials
    from sizewell.specs.deployment import Deployment
    from sizewell.specs.hardware import GpuSpec


def _place_flags() -> Decorator:
    return stack(
        click.option("--model-path", metavar="PATH", help="Where the weights are, or shall be [the hub's cache]."),
        click.option("--host", default="127.0.0.1", show_default=True, help="Where the engine will listen."),
        click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="First port."),
        click.option("--interface", help="Network interface between nodes [the one NCCL takes by itself]."),
    )


@click.command("doctor", cls=OnceCommand)
@source_flags("PLAN", needed=False)
@assume()
@deployment_flags(required=False)
@format_flags(multiple=False)
@settings_flags()
@pool_flags()
@workload_flags()
@_place_flags()
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Check this machine before weights load: GPUs, links, memory, disk, network, engine.

    PLAN is a file (JSON of `sizewell plan --json`, or flags as YAML or TOML), or a model with the flags of `sizewell
    explain` (--on 8xh200). Without it the machine is described and checked for what would stop any engine.
    Exit code 4 when a check fails; a warning leaves it at 0.
    """
    from sizewell.cli import doctor_page
    from sizewell.observer.doctor.examination import examine
    from sizewell.observer.doctor.findings import worst

    deployment = _deployment(ctx, given) if given["model"] else None
    if deployment is None and given["machine"]:
        raise BadInputError(f"--on {given['machine']} says where, not what: name a model or a plan as well")
    place, needs = _place_and_needs(deployment, given["model"], given)
    found = examine(needs, place, _known(), talk)
    if given["as_json"]:
        findings = tuple(found)
        doctor_page.print_document(findings, deployment)
    else:
        findings = doctor_page.show_page(found)
    if worst(findings) == "fail":
        ctx.exit(MissedGateError.exit_code)


def _deployment(ctx: click.Context, given: Mapping[str, Any]) -> Deployment:
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.cli.plan_file import check_as_planned

    if not given["machine"]:
        raise BadInputError(f"{given['model']}: on which machine? say --on 8xh200, or give a plan's file")
    deployment = questions.stated_on(
        read_model(given["model"], assume=given["assume"]),
        questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1),
        workload_of(ctx, given),
        setup_of(given),
    )
    check_as_planned(deployment, ctx)
    return deployment


def _place_and_needs(
    deployment: Deployment | None, asked: str | None, given: Mapping[str, Any]
) -> tuple[Place, Needs | None]:
    """Return where the engine is to run, and what it needs there; weights that are nowhere are to be downloaded."""
    from sizewell.observer.doctor.needs import Place

    model, arrived = _weights(deployment, given["model_path"] or asked)
    place = Place(
        model=model, arrived=arrived, host=given["host"], port=given["port"], interface=given["interface"]
    )  # fmt: skip
    return place, _needs(deployment, place) if deployment else None


def _weights(deployment: Deployment | None, named: str | None) -> tuple[Path, bool]:
    """Return the folder or file of the weights, and whether they should be there: a folder somebody named is."""
    from sizewell.catalog.hub_cache import cache_folder, cached_snapshot, is_hub_id
    from sizewell.observer.doctor.disk_facts import WEIGHTS

    if named:
        path = Path(named).expanduser()
        if path.exists() or (deployment and not is_hub_id(named) and named != deployment.model.name and "/" in named):
            return (path.parent if path.name == "config.json" else path), deployment is not None
    name = named if named and is_hub_id(named) else deployment.model.name if deployment else ""
    snapshot = cached_snapshot(name) if name and is_hub_id(name) else None
    if snapshot is not None and any(file.suffix in WEIGHTS for file in snapshot.iterdir()):
        return snapshot, True
    return cache_folder(), False


def _needs(deployment: Deployment, place: Place) -> Needs:
    from sizewell.catalog.drivers import cuda_of
    from sizewell.cli import questions
    from sizewell.costs.checkpoint import checkpoint_bytes
    from sizewell.costs.ledger import ledger
    from sizewell.deployer.launch import SLOWEST_LOADS
    from sizewell.observer.doctor.needs import Needs

    materials = questions.materials_that_fit(deployment)
    gpu, engine = deployment.cluster.gpu, deployment.engine
    takes_all = engine.name == "llama.cpp" or gpu.kind == "cpu"
    fraction = deployment.pools[0].settings.memory_fraction
    return Needs(
        deployment=deployment,
        materials=materials,
        checkpoint_bytes=checkpoint_bytes(deployment.model, deployment.weight_format),
        gpu_bytes=ledger(deployment).total_bytes if takes_all else fraction * gpu.total_bytes,
        patience_s=SLOWEST_LOADS * max(load.cold_s for load in materials.loads),
        cuda=cuda_of(engine.name, engine.version) if gpu.vendor == "nvidia" else None,
        unknown_flags=_flag_check(deployment, materials, place),
        hub=None if place.arrived else _hub_check(deployment),
    )


def _hub_check(deployment: Deployment) -> Callable[[], str]:
    """Return a function that asks the hub for the model's configuration and returns its complaint, empty if none."""

    def complaint() -> str:
        from sizewell.catalog.hub import download
        from sizewell.catalog.hub_cache import is_offline

        if is_offline():
            return "HF_HUB_OFFLINE forbids the network, and the weights are not here"
        try:
            download(deployment.model.name, "config.json")
        except SizewellError as error:
            return str(error)
        return ""

    return complaint


def _flag_check(
    deployment: Deployment, materials: BillOfMaterials, place: Place
) -> Callable[[str], Sequence[str] | None]:
    """Return a function that lists the flags of the rendered deployment which a version would refuse."""

    def unknown(version: str) -> Sequence[str] | None:
        from sizewell.catalog.engine_flags import read_engine_flags
        from sizewell.deployer import words

        try:
            installed = read_engine_flags(deployment.engine.name, version)
            said = words.flags(_launch(deployment, materials, place))
        except SizewellError:
            return None  # a release nobody read, or a deployment that no target can say
        values, switches = installed.values, installed.switches
        return [flag.name for flag in said if flag.name not in (values if flag.takes_value else switches)]

    return unknown


def _launch(deployment: Deployment, materials: BillOfMaterials, place: Place) -> Launch:
    from sizewell.catalog.engine_flags import read_engine_flags, read_router_flags
    from sizewell.deployer.launch import Launch, Site
    from sizewell.deployer.reasoning import usual_parser

    flags = read_engine_flags(deployment.engine.name, deployment.engine.version)
    site = Site(
        model_path=str(place.model), served_name=deployment.model.name, host=place.host, port=place.port,
        reasoning_parser=usual_parser(deployment.model.name, flags),
    )  # fmt: skip
    router = read_router_flags(deployment.engine.name)
    return Launch(deployment=deployment, site=site, flags=flags, materials=materials, router=router)


def _known() -> Known:
    from sizewell.catalog.drivers import least_drivers
    from sizewell.catalog.hardware import gpu_in_log, list_hosts
    from sizewell.observer.doctor.needs import Known

    @cache
    def gpu(name: str, memory_gib: float | None) -> GpuSpec | None:
        try:
            return gpu_in_log(name, memory_gib, name_alone=True)
        except UnknownNameError:
            return None

    return Known(gpu=gpu, hosts=list_hosts(), drivers=least_drivers())
