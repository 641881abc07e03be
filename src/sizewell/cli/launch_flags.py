"""What `render` and `up` are told: a deployment from flags or a file, and the site it is started at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    one_deployment_flags,
    setup_of,
    stack,
    workload_flags,
    workload_of,
)
from sizewell.cli.output import talk
from sizewell.cli.plan_source import named_model, source_flags
from sizewell.cli.pool_flags import pool_flags
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sizewell.cli.options import Decorator
    from sizewell.deployer.launch import Launch, Slurm
    from sizewell.specs.deployment import Deployment

STYLES = ("none", "conda", "venv", "apptainer", "module")
CONTAINERS = ("compose", "kubernetes")
NAMES = ("model_path", "served_model_name", "host", "reasoning_parser", "environment", "user")


def launch_flags() -> Decorator:
    """Return everything that says what is rendered, but the target."""
    return stack(
        source_flags("MODEL", needed=True), one_deployment_flags(), pool_flags(), workload_flags(),
        *_site_flags(), *_slurm_flags(),
    )  # fmt: skip


def launch_of(ctx: click.Context, given: Mapping[str, Any]) -> Launch:
    """Return the launch the flags state, exactly as it was planned where they come from a plan.

    Raises NoFeasiblePlanError for what does not fit, BadInputError for what cannot be meant.
    """
    from sizewell.cli.plan_file import check_as_planned

    named_model(given)
    deployment = _deployment(ctx, given)
    check_as_planned(deployment, ctx)
    return launch_at(deployment, given)


def warn(launch: Launch, given: Mapping[str, Any]) -> None:
    """Say what to know before it is started: time too short, images and engines that may not be, code that may run."""
    from sizewell.deployer.images import image_caution
    from sizewell.deployer.llama_cpp import room_caution
    from sizewell.deployer.slurm_time import short_of_time
    from sizewell.planner.support import parts_a_block, unsupported

    target, asked = given["target"], launch.deployment
    if target == "slurm" and (warning := short_of_time(launch)):
        talk(f"warning: {warning}")
    if given.get("emulate"):
        return
    if target in CONTAINERS and (warning := image_caution(launch)):
        talk(f"warning: {warning}")
    if warning := room_caution(launch):
        talk(f"warning: {warning}")
    if why := unsupported(asked.model, asked.weight_format, asked.engine, asked.cluster.gpu, asked=True):
        talk(f"warning: {why}; a plan would reject this")
    broken = (parts_a_block(asked.model, asked.weight_format, asked.engine, pool.parallelism) for pool in asked.pools)
    if why := next(filter(None, broken), ""):
        talk(f"warning: {why}; a plan would reject this")
    _warn_of_code(launch, given["trust_remote_code"])


def _warn_of_code(launch: Launch, asked: bool | None) -> None:
    from sizewell.deployer.remote_code import needs_code

    deployment = launch.deployment
    if asked or not needs_code(deployment.model, deployment.engine):
        return
    engine = f"{deployment.engine.name} {deployment.engine.version}"
    then = "will not load" if asked is False else "may run it (--no-trust-remote-code forbids that)"
    talk(f"warning: {engine} loads {deployment.model.name} only with code of its checkpoint: it {then}")


def _site_flags() -> list[Decorator]:
    return [
        click.option("--model-path", metavar="PATH", help="What the engine loads [the model's name or folder]."),
        click.option("--served-model-name", metavar="NAME", help="What clients ask for [the model's name]."),
        click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; others need a key."),
        click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="First port."),
        click.option("--image", default="", metavar="IMAGE", help="Container image [the engine's own]."),
        click.option("--router-image", default="", metavar="IMAGE", help="Image of the router before two pools."),
        click.option("--reasoning-parser", metavar="NAME", help="Parser of thinking, or none [the model's]."),
        click.option(
            "--trust-remote-code/--no-trust-remote-code",
            default=None,
            help="Run code that lies in the checkpoint [where it does not load without].",
        ),
    ]


def _slurm_flags() -> list[Decorator]:
    whole, launcher = "Whole nodes, or only what it needs.", click.Choice(["mp", "ray"])
    return [
        click.option("--partition", help="SLURM partition."),
        click.option("--account", help="SLURM account."),
        click.option("--constraint", help="SLURM node features."),
        click.option("--time", default="1-00:00:00", show_default=True, help="SLURM time limit."),
        click.option("--exclusive/--shared", default=True, show_default=True, help=whole),
        click.option(
            "--style", type=click.Choice(STYLES), default="none", show_default=True, help="How it is installed."
        ),
        click.option("--environment", metavar="NAME", help="Conda name, venv folder, apptainer image or modules."),
        click.option("--launcher", type=launcher, default="mp", show_default=True, help="vLLM's nodes."),
        click.option("--interface", help="Network interface between nodes [the one that carries their address]."),
    ]


def _deployment(ctx: click.Context, given: Mapping[str, Any]) -> Deployment:
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions

    return questions.stated_on(
        read_model(given["model"], assume=given["assume"]),
        questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1),
        workload_of(ctx, given),
        setup_of(given),
    )


def launch_at(deployment: Deployment, given: Mapping[str, Any]) -> Launch:
    """Return what is to be started of a deployment at the site the flags describe."""
    from sizewell.catalog.engine_flags import read_engine_flags, read_router_flags
    from sizewell.cli import questions
    from sizewell.deployer.launch import Launch, Site
    from sizewell.deployer.reasoning import usual_parser
    from sizewell.deployer.remote_code import needs_code

    _refuse_blank(given)
    flags = read_engine_flags(deployment.engine.name, deployment.engine.version)
    asked, lacks = given["trust_remote_code"], needs_code(deployment.model, deployment.engine)
    parser = given["reasoning_parser"] or usual_parser(deployment.model.name, flags)
    site = Site(
        model_path=given["model_path"] or _loaded(deployment, given),
        served_name=given["served_model_name"] or deployment.model.name,
        host=given["host"],
        port=given["port"],
        image=given["image"],
        router_image=given["router_image"],
        reasoning_parser=None if parser == "none" else parser,
        trust_remote_code=lacks if asked is None else asked,
        slurm=_slurm(given),
        name=given.get("name") or "",
        user=given.get("user") or "",
    )
    materials, router = questions.materials_that_fit(deployment), read_router_flags(deployment.engine.name)
    return Launch(deployment=deployment, site=site, flags=flags, materials=materials, router=router)


def _refuse_blank(given: Mapping[str, Any]) -> None:
    """Refuse names of nothing: a variable of the shell that is not set shall not stand for the usual one."""
    for word in NAMES:
        if (named := given.get(word)) is not None and not named.strip():
            raise BadInputError(f"--{word.replace('_', '-')} is empty: give a name, or leave it out")


def _slurm(given: Mapping[str, Any]) -> Slurm:
    from sizewell.deployer.launch import Slurm

    if given["environment"] is not None and given["style"] == "none":
        styles = ", ".join(STYLES[1:])
        raise BadInputError(f"--environment {given['environment']!r} says nothing without --style ({styles})")
    words = ("partition", "account", "constraint", "time", "exclusive", "style", "environment", "launcher", "interface")
    return Slurm(**{word: given[word] for word in words})


def _loaded(deployment: Deployment, given: Mapping[str, Any]) -> str:
    """Return what the engine loads; an emulator loads nothing."""
    return deployment.model.name if given.get("emulate") else _usual_path(deployment, given["model"])


def _usual_path(deployment: Deployment, asked: str) -> str:
    """Return the model's folder where one was named, else its name on the hub."""
    model, weights = deployment.model, deployment.weight_format
    on_load = weights == "fp8" and model.weight_format in ("bf16", "fp16")
    if deployment.engine.name == "llama.cpp":
        raise BadInputError("llama.cpp loads a GGUF file: say which with --model-path")
    if weights not in ("native", model.weight_format) and not on_load:
        raise BadInputError(
            f"{model.name} is stored as {model.weight_format}: name the {weights} one with --model-path"
        )
    folder = os.path.dirname(asked) if asked.endswith("config.json") else asked
    return os.path.abspath(folder) if os.path.isdir(folder) else model.name
