"""`sizewell simulate`: what happens to requests, one by one, on a stated deployment."""

from __future__ import annotations

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
    slo_flags,
    slo_of,
    stack,
    statistic_flag,
    workload_flags,
)
from sizewell.cli.output import progress, talk
from sizewell.cli.plan_source import named_model, source_flags
from sizewell.cli.pool_flags import pool_flags
from sizewell.cli.traffic_flags import offered, traffic_flags

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator
    from sizewell.cli.simulations import Simulation

NOT_FEASIBLE = 3
LIMIT_MISSED = 4
ROUTERS = ("round-robin", "least-requests", "least-tokens", "session", "prefix")


def _file_flags() -> Decorator:
    return stack(
        click.option("--rows", metavar="OUT", help="Write a row for each request: .csv, or .parquet with pyarrow."),
        click.option("--timeline", metavar="OUT", help="Write the engine's state over time: CSV."),
        click.option("--chrome-trace", metavar="OUT", help="Write trace events: JSON for ui.perfetto.dev."),
        click.option("--plots", metavar="OUT", help="Draw latencies, load and cache: .html or .svg."),
    )


@click.command("simulate", cls=OnceCommand)
@source_flags("MODEL", needed=True)
@assume()
@deployment_flags()
@format_flags(multiple=False)
@pool_flags()
@click.option("--decode-on", metavar="8xGPU", help="Accelerators of the decode pool, if of another kind [as --on].")
@settings_flags()
@workload_flags()
@traffic_flags()
@slo_flags()
@statistic_flag()
@click.option("--router", type=click.Choice(ROUTERS), default=ROUTERS[0], help="Who gets a request [round-robin].")
@click.option("--without-one", is_flag=True, help="Play the same requests with a replica fewer of each pool as well.")
@_file_flags()
@click.option("--keep", metavar="NAME", help="Keep the run under a name, for `sizewell runs`.")
@click.option("--strict", is_flag=True, help="End with code 4 when a limit is missed or a request is not served.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Play requests through MODEL on stated hardware and score how well they are served.

    MODEL is a shipped name, a Hugging Face id, a folder or a config.json; or it, its load and its limits come from a
    plan (--plan, --from). Exit code 3 when it does not fit, or is too short for every request; some that are rejected
    or unfinished, and an overloaded engine, are outcomes the score names, and --strict objects to (4). The same
    question and seed give the same answer.
    """
    from sizewell.cli.run_files import check_files

    check_files(given, ("rows", "timeline", "chrome_trace", "plots"))
    found = simulated(ctx, given)
    _write_files(given, found)
    _keep(given, found)
    _answer(given, found)
    if not found.fits:
        ctx.exit(NOT_FEASIBLE)
    if given["strict"] and found.missed:
        ctx.exit(LIMIT_MISSED)


def simulated(ctx: click.Context, given: dict[str, Any]) -> Simulation:
    """Return the simulation that the flags describe."""
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions, simulations

    requests = offered(ctx, given)
    for note in requests.notes:
        talk(f"{given['trace']}: {note}" if given["trace"] is not None else note)
    place = questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1)
    model = read_model(named_model(given), assume=given["assume"])
    deployment = simulations.stated_for(model, place, requests, setup_of(given))
    with progress(len(requests.requests), "simulating") as ended:
        found = simulations.simulate_deployment(deployment, requests, slo_of(given), given["router"], ended)
    return simulations.with_losses(found) if given["without_one"] else found


def _answer(given: dict[str, Any], found: Simulation) -> None:
    if given["as_json"]:
        from sizewell.cli.output import print_json
        from sizewell.cli.simulate_document import simulation_object

        print_json("simulate", simulation_object(found))
    else:
        from sizewell.cli.simulate_page import show_simulation

        show_simulation(found)


def _write_files(given: dict[str, Any], found: Simulation) -> None:
    from sizewell.cli import run_files

    if found.run is None:
        return
    if given["rows"] is not None:
        run_files.write_rows(Path(given["rows"]), found.run)
    if given["timeline"] is not None:
        run_files.write_timeline(Path(given["timeline"]), found.run)
    if given["chrome_trace"] is not None:
        from sizewell.cli.chrome_trace import write_chrome_trace

        write_chrome_trace(Path(given["chrome_trace"]), found.run)
    if given["plots"] is not None:
        _plot(Path(given["plots"]), found)
    for flag in ("rows", "timeline", "chrome_trace", "plots"):
        if given[flag] is not None:
            talk(f"wrote {given[flag]}")


def _keep(given: dict[str, Any], found: Simulation) -> None:
    if given["keep"] is not None:
        from sizewell.cli.keeping import keep_simulation

        keep_simulation(found, given["keep"], given["model"])


def _plot(path: Path, found: Simulation) -> None:
    from sizewell.cli.plots import as_html, as_svg, charts
    from sizewell.cli.run_files import write_text
    from sizewell.cli.simulate_page import page

    if found.run is not None:
        drawn = charts(found.run, found.slo)
        write_text(path, (as_svg if path.suffix.lower() == ".svg" else as_html)(page(found), drawn))
