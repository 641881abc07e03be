"""`sizewell measure`: what the machine this runs on reaches, beside what would have been predicted."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from sizewell.cli.options import OnceCommand, as_json
from sizewell.cli.output import talk
from sizewell.specs.errors import BadInputError, UnknownNameError
from sizewell.specs.machine_figure import FigureKind

if TYPE_CHECKING:
    from sizewell.calibrator.side_by_side import Beside
    from sizewell.observer.measure.bench import Bench
    from sizewell.observer.measure.device import Device
    from sizewell.observer.measure.session import Measured
    from sizewell.specs.hardware import ClusterSpec, GpuSpec
    from sizewell.specs.model import ModelSpec

DEFAULT_SECONDS, QUICK_SECONDS = 180.0, 40.0
KINDS: tuple[FigureKind, ...] = get_args(FigureKind)
INTERRUPTED = 130
FAILED = 1
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Everything a session found out; without a machine to predict on, `rows` carry no predictions."""

    device: Device
    machine: str
    cluster: ClusterSpec | None
    catalogue_files: Mapping[str, str]
    out: Path
    measured: Measured
    rows: tuple[Beside, ...]
    missing_types: dict[str, str]


def _kinds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[FigureKind, ...]:
    if value is None:
        return KINDS
    asked = [word.strip().lower() for word in value.split(",") if word.strip()]
    unknown = [word for word in asked if word not in KINDS]
    if unknown or not asked:
        raise UnknownNameError("kind of figure", next(iter(unknown), ""), KINDS)
    return tuple(kind for kind in KINDS if kind in asked)


@click.command("measure", cls=OnceCommand)
@click.option(
    "--seconds", type=click.FloatRange(min=1, max=86_400), metavar="SECONDS",
    help=f"Time to spend; what does not fit is left out and said so [{DEFAULT_SECONDS:g}; {QUICK_SECONDS:g} if quick].",
)  # fmt: skip
@click.option("--only", callback=_kinds, metavar="KIND,KIND", help=f"Measure only these of {', '.join(KINDS)}.")
@click.option("--quick", is_flag=True, help="Few shapes of each kind.")
@click.option("--device", type=click.Choice(["cuda", "mps", "cpu"]), help="What to measure [the fastest there is].")
@click.option("--on", "name", metavar="GPU", help="The catalogue's name of this machine [told by its own].")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FIGURES.csv",
    help="Where to write the figures [figures-MACHINE-DATE-TIME.csv here].",
)  # fmt: skip
@click.option("--save", is_flag=True, help="Put a machine the catalogue lacks into your own, as measured.")
@click.option("--all", "everything", is_flag=True, help="Show every figure, not only what each kind reached.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Measure the machine this runs on, and show what sizewell predicts for the same work beside it.

    Needs PyTorch (pip install 'sizewell[measure]'), no model weights and no network. Writes the figures to a file
    that `sizewell calibrate` reads (docs/measure.md). Ctrl-C writes what is there, marked partial, and exits with 130;
    exit code 1 when nothing could be measured.
    """
    from sizewell.cli import measure_page

    answer = _measured(given)
    if given["save"]:
        _save(answer)
    if given["as_json"]:
        measure_page.print_document(answer)
    else:
        measure_page.show_page(answer, everything=given["everything"])
    if answer.measured.partial:
        ctx.exit(INTERRUPTED)
    if not answer.measured.figures:
        ctx.exit(FAILED)


def _measured(given: dict[str, Any]) -> Answer:
    from sizewell.catalog.figures_file import write_figures
    from sizewell.observer.measure.bench import open_bench
    from sizewell.observer.measure.description import device_key
    from sizewell.observer.measure.device import find_device, load_torch
    from sizewell.observer.measure.trial import tried_types

    torch = load_torch()
    device = find_device(torch, given["device"])
    gpu = _known(device, given["name"])
    machine = gpu.key if gpu else device_key(device)
    out = given["out"] or Path(f"figures-{machine}-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    _check_place(out)
    bench = open_bench(torch, device)
    types, missing = tried_types(bench)
    talk(f"{device.name}: {device.memory_bytes / GIB:.0f} GiB, {device.versions}; {machine}")
    models = _models(given["only"])
    measured = _session(bench, machine, models, types, given)
    if measured.figures:
        write_figures(out, measured.figures)
        talk(f"wrote {len(measured.figures)} figures to {out}{' (partial)' if measured.partial else ''}")
    return _compared(Answer(
        device=device, machine=machine, cluster=_cluster(gpu, device.count) if gpu else None, catalogue_files={},
        out=out, measured=measured, rows=(), missing_types=dict(missing),
    ), models)  # fmt: skip


def _save(answer: Answer) -> None:
    from sizewell.catalog.overlay import write_files

    if not answer.catalogue_files:
        talk(f"{answer.machine} is in the catalogue, or too little was measured to describe it: nothing to save")
    for path in write_files(answer.catalogue_files):
        talk(f"wrote {path}; name the machine with --on {answer.machine}")


def _check_place(out: Path) -> None:
    """Refuse a file that cannot be written before minutes of measuring."""
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise BadInputError(f"{out}: its folder is not there or cannot be written to; name another file with --out")


def _session(
    bench: Bench, machine: str, models: dict[str, ModelSpec], types: tuple[str, ...], given: dict[str, Any]
) -> Measured:
    from sizewell.calibrator.probe_grid import Scope, probes
    from sizewell.observer.measure.session import Occasion, Session

    device = bench.device
    scope = Scope(
        device=device.kind, memory_bytes=device.free_bytes, devices=device.count, dtypes=types,
        small=device.backend != "cuda",
        quick=given["quick"],
        kinds=given["only"],
    )  # fmt: skip
    seconds = given["seconds"] or (QUICK_SECONDS if given["quick"] else DEFAULT_SECONDS)
    occasion = Occasion(
        machine=machine, versions=device.versions, command=_said(given, seconds), date=time.strftime("%Y-%m-%d"),
        seconds=seconds,
        remark=_crowding(device),
    )  # fmt: skip
    return Session(bench, models, occasion, talk).measure(probes(scope, models))


def _crowding(device: Device) -> str:
    from sizewell.observer.measure.throttle import crowding

    remark = crowding(device, os.getloadavg()[0])
    if remark:
        talk(remark)
    return remark


def _models(kinds: tuple[FigureKind, ...]) -> dict[str, ModelSpec]:
    from sizewell.calibrator.probe_grid import LAYERED
    from sizewell.catalog.models import read_model

    return {name: read_model(name) for name in LAYERED} if "layers" in kinds else {}


def _compared(answer: Answer, models: dict[str, ModelSpec]) -> Answer:
    """Return the answer with predictions; a machine without a catalogue entry is described by its own figures."""
    from dataclasses import replace

    from sizewell.calibrator.implied_machine import implied_machine
    from sizewell.calibrator.side_by_side import Beside, side_by_side
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.gpu_file import machine_files
    from sizewell.observer.measure.description import described

    figures, efficiencies = answer.measured.figures, read_efficiencies()
    date, files, cluster = time.strftime("%Y-%m-%d"), dict[str, str](), answer.cluster
    if cluster is None:
        bare, count = described(answer.device, date), answer.device.count
        implied = implied_machine(bare, figures, efficiencies, lambda gpu: _fitted(gpu, count))
        if implied is None:
            return replace(answer, rows=tuple(Beside(figure=figure, predicted=None) for figure in figures))
        how = "sizewell measure, rates that predict its best figures"
        files = machine_files(implied, how, date)
        cluster = _fitted(implied, count)
    rows = side_by_side(figures, cluster, efficiencies, models)
    return replace(answer, cluster=cluster, catalogue_files=files, rows=rows)


def _known(device: Device, name: str | None) -> GpuSpec | None:
    """Return the catalogue's accelerator; of processors only one that is named: cores and channels differ too much."""
    from sizewell.catalog.hardware import gpu_in_log, read_gpu

    if name is not None:
        return read_gpu(name)
    if device.kind == "cpu":
        return None
    try:
        return gpu_in_log(device.name, device.memory_bytes / GIB, name_alone=True)
    except UnknownNameError:
        return None


def _cluster(gpu: GpuSpec, count: int) -> ClusterSpec:
    from sizewell.catalog.hardware import cluster

    try:
        return cluster(gpu.key, gpus_per_node=count)
    except BadInputError:  # an odd number of cards in the box: only links depend on it
        return _fitted(gpu, count)


def _fitted(gpu: GpuSpec, count: int) -> ClusterSpec:
    from sizewell.catalog.hardware import read_node
    from sizewell.specs.hardware import ClusterSpec

    node = read_node("cpu-desktop" if gpu.kind == "cpu" else "workstation")
    return ClusterSpec(gpu=gpu, node=node, gpus_per_node=count, nodes=1)


def _said(given: dict[str, Any], seconds: float) -> str:
    words = ["sizewell measure", f"--seconds {seconds:g}"]
    words += ["--quick"] if given["quick"] else []
    words += [f"--only {','.join(given['only'])}"] if given["only"] != KINDS else []
    words += [f"--device {given['device']}"] if given["device"] else []
    return " ".join(words)
