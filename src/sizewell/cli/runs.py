"""`sizewell runs`: what was simulated and measured, kept, and compared with each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from sizewell.cli.options import as_json
from sizewell.cli.output import amount, duration, print_json, show, table
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from rich.table import Table

    from sizewell.records.store import RunEntry
    from sizewell.traffic.score import Score

STATISTICS = ("mean", "p50", "p99")
FELT = ("ttft", "ttfa", "tpot", "itl", "e2e")
KINDS = ("runs", "plans", "calibrations")
NUMBER = click.IntRange(min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure of two runs; `ratio` is the second over the first, None where either is missing."""

    figure: str
    first: float | None
    second: float | None

    @property
    def ratio(self) -> float | None:
        """The second over the first."""
        if self.first is None or self.second is None or self.first == 0:
            return None
        return self.second / self.first


class Runs(click.Group):
    """What is asked of kept runs: without a word for it the list, and of a number that run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the word that was left out."""
        if args and args[0].isdecimal():
            args = ["show", *args]
        elif not args or args[0].startswith(("--json", "--of")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("runs", cls=Runs)
def command() -> None:
    """List, show, compare, export and delete kept runs: without a command the list, with a number that run.

    `sizewell simulate --keep NAME` and `sizewell bench --keep NAME` keep them. They lie in $SIZEWELL_HOME, else in the
    user's data folder.
    """


@command.command("list")
@click.option("--of", "kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="What to list.")
@as_json()
def list_runs(kind: str, as_json: bool) -> None:
    """List all runs, plans or calibrations, the oldest first."""
    from sizewell.records.store import Records

    if kind != "runs":
        _list_documents(kind, as_json)
        return
    entries = Records.usual().runs()
    if as_json:
        print_json("runs", {"kind": "list", "runs": [_entry_object(entry) for entry in entries]})
    elif entries:
        heads = (">id", "|made", "name", "origin", "model", "on", ">requests", ">plan", ">predicted by")
        show(table("", heads, [_row(entry) for entry in entries]))
    else:
        click.echo("no runs are kept: sizewell simulate --keep NAME keeps one", err=True)


def _list_documents(kind: str, as_json: bool) -> None:
    from sizewell.records.store import Records

    entries = Records.usual().kept("plans" if kind == "plans" else "calibrations")
    if as_json:
        made = [{"id": one.id, "made_at": one.made_at, "name": one.name, "document": one.document} for one in entries]
        print_json("runs", {"kind": "list", kind: made})
    elif entries:
        rows = [(str(one.id), _made(one.made_at), one.name, _subject(one.document)) for one in entries]
        show(table("", (">id", "|made", "name", "of"), rows))
    else:
        click.echo(f"no {kind} are kept", err=True)


def _subject(document: Mapping[str, Any]) -> str:
    """Return what a plan or a calibration is about."""
    if "deployment" in document or document.get("plans"):
        said = document["deployment"] if "deployment" in document else document["plans"][0]["deployment"]
        return f"{said['model']} on {said['gpus']} × {said['gpu']} under {said['engine']['name']}"
    before, after = document.get("before_fraction", 0.0), document.get("after_fraction", 0.0)
    return f"{document.get('about', 'unknown')}: error {before:.0%} before, {after:.0%} after"


@command.command("show")
@click.argument("number", type=NUMBER, metavar="ID")
@as_json()
def show_run(number: int, as_json: bool) -> None:
    """Show how the requests of run ID were served, and beside it what had been predicted for them."""
    entry, score = _scored(number)
    beside = None if entry.predicted is None else _scored(entry.predicted)[1]
    if as_json:
        print_json("runs", {"kind": "show", "run": _entry_object(entry), "score": score, "predicted_score": beside})
        return
    rows = [(name.upper(), *(_felt(score, name, statistic) for statistic in STATISTICS)) for name in FELT]
    show(_headline(entry), table("Latencies of served requests", ("latency", ">mean", ">p50", ">p99"), rows))
    show(f"{score.ok} of {score.offered} requests served, {score.preemptions} preemptions")
    if score.wall is not None:
        rates = score.wall
        show(f"{amount(rates.output_tokens_per_s)} output tokens/s, {amount(rates.requests_per_s)} requests/s")
    if beside is not None:
        show(_figures_table((f"{number} {entry.origin}", f"{entry.predicted} predicted"), compared(score, beside)))


@command.command("compare")
@click.argument("first", type=NUMBER, metavar="A")
@click.argument("second", type=NUMBER, metavar="[B]", required=False)
@as_json()
def compare_runs(first: int, second: int | None, as_json: bool) -> None:
    """Compare run B with run A, such as predicted with measured, figure by figure; without B what predicted A."""
    second = second or _predicted_of(first)
    if first == second:
        raise BadInputError(f"run {first} is the same as itself: give two runs")
    (one, one_score), (other, other_score) = _scored(first), _scored(second)
    figures = list(compared(one_score, other_score))
    notes = list(differences(one, other))
    if as_json:
        rows = [{"figure": f.figure, "first": f.first, "second": f.second, "ratio": f.ratio} for f in figures]
        runs = {"first": _entry_object(one), "second": _entry_object(other)}
        print_json("runs", {"kind": "compare", **runs, "figures": rows, "notes": notes})
        return
    heads = (f"{first} {one.origin}", f"{second} {other.origin}")
    show(_headline(one), _headline(other), _figures_table(heads, figures), *notes)


@command.command("export")
@click.argument("number", type=NUMBER, metavar="ID")
@click.argument("path", metavar="FILE")
@as_json()
def export_run(number: int, path: str, as_json: bool) -> None:
    """Write the requests of run ID to a CSV file, a row each, as `sizewell simulate --rows` does."""
    from pathlib import Path

    from sizewell.cli.run_files import check_files, write_rows
    from sizewell.records.store import Records

    entry, run = Records.usual().run(number)
    check_files({"rows": path, "plots": None}, ("rows",))
    write_rows(Path(path), run)
    if as_json:
        print_json("runs", {"kind": "export", "run": _entry_object(entry), "file": path})
    else:
        click.echo(f"wrote {len(run):,} requests of run {number} to {path}", err=True)


@command.command("delete")
@click.argument("numbers", type=NUMBER, metavar="ID...", nargs=-1, required=True)
@click.option("--of", "kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="What to delete.")
@as_json()
def delete_records(numbers: tuple[int, ...], kind: Literal["runs", "plans", "calibrations"], as_json: bool) -> None:
    """Delete runs, plans or calibrations by their numbers: all of them, or none where one is not there.

    A calibration stays in force as long as its file lies in your catalogue.
    """
    from sizewell.records.store import Records

    distinct = tuple(dict.fromkeys(numbers))
    Records.usual().delete(kind, distinct)
    if as_json:
        print_json("runs", {"kind": "delete", "of": kind, "deleted": list(distinct)})
    else:
        what = kind if len(distinct) > 1 else kind[:-1]
        click.echo(f"deleted {what} {', '.join(map(str, distinct))}", err=True)


def _predicted_of(number: int) -> int:
    from sizewell.records.store import Records

    found = Records.usual().run(number)[0].predicted
    if found is None:
        raise BadInputError(f"nothing is kept that predicted run {number}: give the run to compare it with")
    return found


def _figures_table(heads: tuple[str, str], figures: Iterable[Compared]) -> Table:
    cells = [(f.figure, _said(f.figure, f.first), _said(f.figure, f.second), _times(f.ratio)) for f in figures]
    return table("", ("figure", *(f">{head}" for head in heads), ">second over first"), cells)


def compared(first: Score, second: Score) -> Iterator[Compared]:
    """Yield the figures both scores have in common, times in seconds."""
    for name in FELT:
        for statistic in STATISTICS:
            pair = [getattr(getattr(each, name), f"{statistic}_s") for each in (first, second)]
            if pair != [None, None]:
                yield Compared(figure=f"{name}_{statistic}_s", first=pair[0], second=pair[1])
    for field in ("output_tokens_per_s", "requests_per_s"):
        pair = [getattr(each.wall, field, None) for each in (first, second)]
        yield Compared(figure=field, first=pair[0], second=pair[1])
    yield Compared(figure="attainment_fraction", first=first.attainment_fraction, second=second.attainment_fraction)


def differences(first: RunEntry, second: RunEntry) -> Iterator[str]:
    """Yield what was not the same in two runs beside what is compared."""
    for word, one, other in (
        ("deployment", first.deployment, second.deployment),
        ("load", first.workload, second.workload),
    ):
        # What the client of a measured run drew is not known by a seed.
        unknown = {"seed"} if None in (one.get("seed"), other.get("seed")) else set()
        names = [name for name in {**one, **other} if one.get(name) != other.get(name) and name not in unknown]
        if names:
            yield f"the {word} differs in {', '.join(names)}"


def _scored(number: int) -> tuple[RunEntry, Score]:
    from sizewell.records.store import Records
    from sizewell.traffic.score import score

    entry, run = Records.usual().run(number)
    return entry, score(run)


def _entry_object(entry: RunEntry) -> Mapping[str, Any]:
    return {
        "id": entry.id, "made_at": entry.made_at, "name": entry.name, "origin": entry.origin, "plan": entry.plan,
        "predicted": entry.predicted, "requests": entry.requests, "deployment": entry.deployment,
        "workload": entry.workload,
    }  # fmt: skip


def _row(entry: RunEntry) -> tuple[str, ...]:
    return (
        str(entry.id), _made(entry.made_at), entry.name, entry.origin, str(entry.deployment.get("model", "")),
        _place(entry), f"{entry.requests:,}", _number(entry.plan), _number(entry.predicted),
    )  # fmt: skip


def _made(made_at: str) -> str:
    return made_at[:16].replace("T", " ")


def _number(found: int | None) -> str:
    return "" if found is None else str(found)


def _headline(entry: RunEntry) -> str:
    what = f"{entry.deployment.get('model', 'unknown model')} on {_place(entry)}"
    return f"run {entry.id} {entry.name!r}, {entry.origin}: {what}, {entry.requests:,} requests"


def _place(entry: RunEntry) -> str:
    said = entry.deployment
    return f"{said['gpus']} × {said['gpu']}" if "gpus" in said and "gpu" in said else "unknown hardware"


def _felt(score: Score, name: str, statistic: str) -> str:
    value = getattr(getattr(score, name), f"{statistic}_s")
    return "–" if value is None else duration(value)


def _said(figure: str, value: float | None) -> str:
    if value is None:
        return "–"
    return duration(value) if figure.endswith("_s") and not figure.endswith("per_s") else amount(value)


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"× {ratio:.3f}"
