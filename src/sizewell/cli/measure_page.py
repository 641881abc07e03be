"""What `sizewell measure` shows: what each kind of work reached, predictions beside it, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sizewell.calibrator.side_by_side import Beside, reach
from sizewell.cli.output import duration, print_json, show, table

if TYPE_CHECKING:
    from sizewell.calibrator.side_by_side import Reach
    from sizewell.cli.measure import Answer
    from sizewell.specs.machine_figure import Probe

MOST_REASONS = 12
UNKNOWN = (
    "This machine is not in the catalogue: predictions rest on the rates below, which its own figures",
    "imply. To keep it, write this into your catalogue (docs/catalogue.md) and put the maker's figures in",
    "where you know them.",
)
_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def print_document(answer: Answer) -> None:
    """Print the answer as JSON."""
    device, measured = answer.device, answer.measured
    print_json("measure", {
        "machine": answer.machine,
        "device": {
            "name": device.name, "backend": device.backend, "vendor": device.vendor, "kind": device.kind,
            "count": device.count, "cores": device.cores, "memory_bytes": device.memory_bytes,
            "cache_bytes": device.cache_bytes, "capability": device.capability, "versions": device.versions,
        },
        "in_catalogue": not answer.catalogue_files and answer.cluster is not None,
        "catalogue_files": [{"path": path, "text": text} for path, text in answer.catalogue_files.items()],
        "file": str(answer.out),
        "partial": measured.partial,
        "wall_s": measured.wall_s,
        "reach": list(reach(answer.rows)),
        "figures": [_figure_object(row) for row in answer.rows],
        "left_out": list(measured.left_out),
        "missing_types": [{"dtype": name, "reason": why} for name, why in answer.missing_types.items()],
        "remark": measured.remark,
        "remarks": [{"kind": kind, "remark": remark} for kind, remark in measured.remarks.items()],
    })  # fmt: skip


def _figure_object(row: Beside) -> dict[str, object]:
    figure, probe, predicted = row.figure, row.figure.probe, row.predicted
    return {
        "kind": probe.kind, "op": probe.op, "model": probe.model, "dtype": probe.dtype, "shape": probe.shape,
        "kernel": figure.kernel, "seconds": figure.seconds, "repeats": figure.repeats,
        "spread_fraction": figure.spread_fraction, "flops_per_s": figure.flops_per_s,
        "bytes_per_s": figure.bytes_per_s,
        "predicted_s": predicted.seconds if predicted else None,
        "floor_s": predicted.floor_s if predicted else None,
        "ratio": row.ratio,
    }  # fmt: skip


def show_page(answer: Answer, *, everything: bool) -> None:
    """Print tables and lines of at most 100 columns."""
    heads = ("kind", "op", "|type", ">n", ">best B/s", ">best FLOP/s", ">spread", "|>predicted/measured", ">≤25%")
    title = f"{answer.machine}: reached, and predicted/measured time (median [10th–90th percentile])"
    show(table(title, heads, [_reach_cells(row) for row in reach(answer.rows)]))
    shown = [row for row in answer.rows if everything or row.figure.probe.kind == "layers"]
    if shown:
        name = "every figure" if everything else "whole decoder layers of random weights"
        columns = ("work", ">measured", ">spread", ">predicted", ">ratio")
        show(table(name, columns, [_figure_cells(row) for row in shown]))
    show(*_notes(answer))
    if answer.catalogue_files:
        show("", *UNKNOWN, "")
    for path, text in answer.catalogue_files.items():
        click.echo(f"# {path}\n{text}")  # as it is: a line broken at column 100 would be no TOML
    show(f"{len(answer.rows)} figures{' (partial)' if answer.measured.partial else ''}: {answer.out}")


def _reach_cells(row: Reach) -> tuple[str, ...]:
    ratio = "–"
    if row.median_ratio is not None and row.low_ratio is not None and row.high_ratio is not None:
        ratio = f"{row.median_ratio:.2f} [{row.low_ratio:.2f}–{row.high_ratio:.2f}]"
    within = "–" if row.within_25_percent_fraction is None else f"{row.within_25_percent_fraction:.0%}"
    return (
        row.kind, row.op, row.dtype, str(row.figures), _rate(row.best_bytes_per_s), _rate(row.best_flops_per_s),
        f"{row.median_spread_fraction:.0%}", ratio, within,
    )  # fmt: skip


def _figure_cells(row: Beside) -> tuple[str, ...]:
    figure, probe = row.figure, row.figure.probe
    predicted = duration(row.predicted.seconds) if row.predicted else "–"
    ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
    return _work(probe), duration(figure.seconds), f"{figure.spread_fraction:.0%}", predicted, ratio


def _work(probe: Probe) -> str:
    if probe.kind != "layers":
        return " ".join(part for part in (probe.op, probe.dtype, probe.shape_text) if part)
    shape = probe.shape
    tokens = f"{shape['context_tokens']:,} cached" if "context_tokens" in shape else f"{shape['tokens']:,} tokens"
    layers = f"{shape['layers']} layer{'s' if shape['layers'] > 1 else ''}"
    experts = f" of {shape['experts']} experts" if "experts" in shape else ""
    name = probe.model.rpartition("/")[2].removesuffix("-Instruct")
    return f"{name}, {layers}{experts}, {probe.dtype}: {probe.op} {shape['sequences']} × {tokens}"


def _notes(answer: Answer) -> Iterator[str]:
    if answer.cluster is None and answer.rows:
        yield "No predictions: the catalogue lacks this machine; memory and gemm figures would give its rates."
    if answer.measured.remark:
        yield answer.measured.remark
    for dtype, why in answer.missing_types.items():
        yield f"{dtype} is not supported here: {why}"
    for kind, remark in answer.measured.remarks.items():
        yield f"{kind}: {remark}"
    left = answer.measured.left_out
    for lot in left[:MOST_REASONS]:
        yield f"left out: {lot.probes} × {' '.join(p for p in (lot.kind, lot.op, lot.dtype) if p)}: {lot.reason}"
    if len(left) > MOST_REASONS:
        yield f"… and {len(left) - MOST_REASONS} more reasons (--json lists them)"


def _rate(per_s: float) -> str:
    for factor, unit in _UNITS:
        if per_s >= factor:
            return f"{per_s / factor:.3g} {unit}"
    return "–" if per_s == 0 else f"{per_s:.3g}"
