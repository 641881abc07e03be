"""`sizewell emulate`: an OpenAI-compatible server that behaves like hardware you do not have."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import as_json, one_deployment_flags, quantity, setup_of, stack
from sizewell.cli.plan_file import plan_flag
from sizewell.cli.quantities import COUNT, DURATION, FACTOR, FRACTION, SEED, SIGMA, TOKENS
from sizewell.specs.errors import NoFeasiblePlanError

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator
    from sizewell.costs.ledger import MemoryLedger
    from sizewell.emulator.deployment import Door, Emulation, Failures
    from sizewell.specs.deployment import Deployment

API_KEY = "SIZEWELL_API_KEY"
ROUTERS = ("round-robin", "least-requests", "least-tokens", "session", "prefix")
REASONINGS = ("auto", "reasoning", "reasoning_content", "both", "text")
STATUSES = ("429", "500", "502", "503", "504")
LENGTH_STEP_TOKENS = 1024


def _door_flags() -> Decorator:
    return stack(
        click.option("--host", default="127.0.0.1", show_default=True, help=f"Address; an open one needs ${API_KEY}."),
        click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0: a free one."),
        click.option("--served-model-name", "name", metavar="NAME", help="What clients call the model [its name]."),
        quantity("--speed", FACTOR, "How much faster than real time [1]."),
        click.option(
            "--reasoning", type=click.Choice(REASONINGS), default="auto", help="Field of thinking [version's]."
        ),
        click.option(
            "--router", type=click.Choice(ROUTERS), default=ROUTERS[0], help="Who gets a request [round-robin]."
        ),
    )


def _length_flags() -> Decorator:
    return stack(
        quantity("--answer", TOKENS, "Mean answer tokens where the client does not decide [500]."),
        quantity("--think", TOKENS, "Mean tokens of thinking before the answer [0]."),
        quantity("--length-sigma", SIGMA, "Spread of both: sigma of a lognormal [0]."),
        quantity("--seed", SEED, "Seed of lengths, drafts and failures [0]."),
    )


def _failure_flags() -> Decorator:
    return stack(
        quantity("--load-time", DURATION, "Answer 503 so long while weights load [0]."),
        quantity("--error-rate", FRACTION, "Share of requests refused at once [0]."),
        click.option("--error-status", type=click.Choice(STATUSES), default="503", help="Their status [503]."),
        quantity("--reset-rate", FRACTION, "Share whose connection is lost in the middle [0]."),
        quantity("--stall-rate", FRACTION, "Share that goes silent in the middle [0]."),
        quantity("--stall-time", DURATION, "For how long [for ever]."),
        quantity("--die-after-requests", COUNT, "The engine dies of so many: /health 503, requests 500."),
        quantity("--die-after", DURATION, "The engine dies after so long."),
        quantity("--exit-after", DURATION, "A dead engine's server ends, with code 0, so much later [never]."),
    )


@click.command("emulate")
@click.argument("model")
@plan_flag()
@one_deployment_flags()
@_door_flags()
@_length_flags()
@_failure_flags()
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Serve MODEL, as OpenAI's API, at the pace of hardware you do not have.

    Requests are scheduled live by the simulator: tokens come when that deployment would give them, or --speed times
    faster. Text is filler; a token is four bytes. The API key comes from $SIZEWELL_API_KEY. Ends with 0 when it is
    told to (Ctrl-C, SIGTERM), with 3 where the deployment does not fit. Says on stderr what the engine would say.
    """
    door = _door(given)
    emulation, deployment = emulation_of(given)
    quiet = bool((ctx.find_root().obj or {}).get("quiet"))
    asyncio.run(_serve(emulation, door, deployment, {"as_json": given["as_json"], "quiet": quiet}))


def emulation_of(given: dict[str, Any]) -> tuple[Emulation, Deployment]:
    """Return what the flags describe; raises NoFeasiblePlanError where it does not fit."""
    deployment, memory = _deployment(given)
    if not memory.fits:
        raise NoFeasiblePlanError(f"{deployment.model.name} does not start there: {memory.verdict}")
    return _emulation(given, deployment, memory), deployment


async def _serve(emulation: Emulation, door: Door, deployment: Deployment, how: dict[str, bool]) -> None:
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.driver.client import most_connections
    from sizewell.emulator.server import Server

    most_connections()  # a shell's 1,024 open files are fewer than clients of a large deployment

    def say(line: str) -> None:
        if not how["quiet"]:
            level = "" if line.startswith("ERROR ") else "INFO "
            click.echo(f"{level}{time.strftime('%m-%d %H:%M:%S')} [emulator.py:1] {line}", err=True)

    def ready(address: str) -> None:
        _announce(address, emulation, deployment, how["as_json"])

    server = Server(emulation, door, say, CodeFolder.usual())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    await server.run(ready)


def _announce(address: str, emulation: Emulation, deployment: Deployment, as_json: bool) -> None:
    from sizewell.cli.documents import deployment_object
    from sizewell.cli.output import print_json

    memory = emulation.memory
    if as_json:
        print_json(
            "emulate",
            {
                "url": address, "model": emulation.name, "deployment": deployment_object(deployment),
                "speed": emulation.speed, "load_s": emulation.failures.load_s, "router": emulation.fleet.router,
                "memory": {
                    "weight_bytes": memory.weight_bytes, "kv_bytes": memory.kv_bytes, "kv_tokens": memory.kv_tokens,
                    "kv_blocks": memory.kv_blocks,
                    "max_concurrency": memory.concurrency(emulation.max_model_len_tokens),
                },
            },
        )  # fmt: skip
    else:
        click.echo(f"{emulation.name} at {address}/v1")
    sys.stdout.flush()


def _deployment(given: dict[str, Any]) -> tuple[Deployment, MemoryLedger]:
    """Return the deployment, its context as long as the model and its cache allow where none is stated."""
    from dataclasses import replace

    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.costs.ledger import ledger
    from sizewell.traffic.workload import Workload

    setup, load = setup_of(given), Workload(input_tokens=1.0, answer_tokens=1.0, users=1.0)
    place = questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1)
    model = read_model(given["model"], assume=given["assume"])
    longest = model.max_context_tokens
    deployment = questions.stated_on(model, place, load, setup, least_context_tokens=longest)
    memory = ledger(deployment)
    held = int(memory.concurrency(longest) * longest) // LENGTH_STEP_TOKENS * LENGTH_STEP_TOKENS
    if given["max_model_len"] is None and memory.kv_blocks > 0 and 0 < held < longest:
        stated = replace(setup.stated, max_model_len_tokens=held)
        deployment = questions.stated_on(model, place, load, replace(setup, stated=stated))
        memory = ledger(deployment)
    return deployment, memory


def _emulation(given: dict[str, Any], deployment: Deployment, memory: MemoryLedger) -> Emulation:
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.engine_metrics import read_engine_metrics
    from sizewell.emulator.deployment import Emulation, Lengths
    from sizewell.emulator.dialect import Dialect
    from sizewell.simulator.deployment import deployed_facts
    from sizewell.simulator.facts import Fleet
    from sizewell.specs.engine_metrics import metrics_in

    seed = given["seed"] or 0
    facts = deployed_facts(deployment, memory, read_efficiencies(), seed=seed)
    engine = deployment.engine
    dialect = Dialect(engine=engine.name, version=engine.version, reasoning=given["reasoning"])
    answer = given["answer"] if given["answer"] is not None else 500.0
    return Emulation(
        name=given["name"] or deployment.model.name,
        fleet=Fleet(replica=facts, replicas=deployment.pools[0].replicas, router=given["router"]),
        memory=memory,
        dialect=dialect,
        metrics=metrics_in(read_engine_metrics(engine.name), dialect.release),
        lengths=Lengths(
            think_tokens=given["think"] or 0.0, answer_tokens=answer, sigma=given["length_sigma"] or 0.0, seed=seed
        ),
        failures=_failures(given, seed),
        speed=given["speed"] or 1.0,
    )


def _failures(given: dict[str, Any], seed: int) -> Failures:
    from math import inf

    from sizewell.emulator.deployment import Failures

    return Failures(
        error_fraction=given["error_rate"] or 0.0,
        error_status=int(given["error_status"]),
        stall_fraction=given["stall_rate"] or 0.0,
        stall_s=given["stall_time"] if given["stall_time"] is not None else inf,
        reset_fraction=given["reset_rate"] or 0.0,
        die_after_requests=given["die_after_requests"],
        die_after_s=given["die_after"] if given["die_after"] is not None else inf,
        dead_s=given["exit_after"] if given["exit_after"] is not None else inf,
        load_s=given["load_time"] or 0.0,
        seed=seed,
    )


def _door(given: dict[str, Any]) -> Door:
    from sizewell.emulator.deployment import Door

    return Door(host=given["host"], port=given["port"], api_key=os.environ.get(API_KEY) or None)
