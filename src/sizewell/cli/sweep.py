"""`sizewell sweep`: many simulations that differ in some flags, on all cores or on a Ray cluster."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import as_json, quantity
from sizewell.cli.output import amount, duration, progress, show, table
from sizewell.cli.quantities import COUNT
from sizewell.specs.errors import BadInputError, NoFeasiblePlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sizewell.cli.sweep_cases import Outcome

MOST_CASES = 100_000
NOT_SWEPT = ("--rows", "--timeline", "--chrome-trace", "--plots", "--json", "--strict", "--help", "-h")
SHOWN = 30


@click.command("sweep", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True})
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="FLAG=A,B,…",
    help="Values of a flag of simulate, or A..B..STEP; repeat.",
)
@quantity("--cores", COUNT, "Processes on this machine [all cores].")
@click.option("--ray", metavar="ADDRESS", help="Run on a Ray cluster instead: auto, or host:port of its head.")
@click.option("--out", metavar="CSV", help="Write a row for each simulation.")
@as_json()
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="SIMULATE-ARGUMENTS…")
def command(vary: tuple[str, ...], words: tuple[str, ...], **given: Any) -> None:
    """Simulate every combination of some flags: sizewell sweep llama-3.1-8b --on h100 --vary rate=2/s,4/s,8/s.

    What is not varied goes to `sizewell simulate` as it is. A combination that cannot be simulated says why in its
    row; where none can, the exit code is 2, or 3 when none fits or takes a request. The rows are those of the
    combinations in order, whoever simulated them.
    """
    from sizewell.catalog.whole_files import check_writable
    from sizewell.cli.run_files import write_text
    from sizewell.cli.sweep_cases import on_cores, on_ray

    if given["out"] is not None:
        check_writable(Path(given["out"]))
    for word in words:
        if word.partition("=")[0] in NOT_SWEPT:
            raise BadInputError(f"{word} belongs to one simulation: leave it out of a sweep")
    varied = _varied(vary)
    cases = _cases(words, varied)
    with progress(len(cases), "simulating") as ended:
        run = on_ray(cases, given["ray"], ended) if given["ray"] else on_cores(cases, given["cores"], ended)
    if given["out"] is not None:
        write_text(Path(given["out"]), "".join(_csv(varied, run)))
    if given["as_json"]:
        from sizewell.cli.output import print_json

        print_json("sweep", {"varied": varied, "simulations": [one.document(varied) for one in run]})
    else:
        show(_table(varied, run))
        if len(run) > SHOWN:
            show(f"{len(run) - SHOWN} more: --json or --out has all of them")
    _refuse_none(run)


def _refuse_none(run: Sequence[Outcome]) -> None:
    """Refuse a sweep of which nothing could be simulated or served; raises the error of what the first row says."""
    if any(one.score and one.fits for one in run):
        return
    kind = BadInputError if any(one.fits for one in run) else NoFeasiblePlanError
    could = "takes a request" if any(one.score for one in run) else "could be simulated"
    raise kind(f"none of {len(run):,} combinations {could}; the first: {run[0].note}")


def _varied(vary: Sequence[str]) -> dict[str, tuple[str, ...]]:
    varied: dict[str, tuple[str, ...]] = {}
    for text in vary:
        name, values = _values(text)
        if name in varied:
            raise BadInputError(f"--vary {name} is said twice: put all its values into one, --vary {name}=A,B,C")
        varied[name] = values
    return varied


def _values(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the flag and its values: `rate=1/s,2/s`, or counted `users=8..64..8`."""
    flag, equals, said = text.partition("=")
    name = flag.strip().lstrip("-").replace("_", "-")
    if not (equals and name and said.strip(",. ")):
        raise BadInputError(f"--vary {text!r}: write a flag and its values, rate=2/s,4/s or users=8..64..8")
    if ".." not in said:
        return name, tuple(word.strip() for word in said.split(",") if word.strip())
    ends = said.split("..")
    if len(ends) > 3 or not all(end.strip().isdigit() for end in ends):
        raise BadInputError(f"--vary {text!r}: a range is whole numbers, FIRST..LAST or FIRST..LAST..STEP")
    first, last, step = (*map(int, ends), 1)[:3]
    if last < first or step < 1 or (last - first) // step >= MOST_CASES:
        raise BadInputError(f"--vary {text!r}: a range rises by at least 1 and has at most {MOST_CASES:,} values")
    return name, tuple(str(number) for number in range(first, last + 1, step))


def _cases(words: Sequence[str], varied: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    many = 1
    for values in varied.values():
        many *= len(values)
    if many > MOST_CASES:
        raise BadInputError(f"{many:,} combinations: vary less, at most {MOST_CASES:,}")
    flags = [f"--{name}" for name in varied]
    return [
        (*words, *(f"{flag}={value}" for flag, value in zip(flags, chosen, strict=True)))
        for chosen in product(*varied.values())
    ]


def _table(varied: dict[str, tuple[str, ...]], run: Sequence[Outcome]) -> Any:
    heads = [*varied, ">TTFT p50", ">p99", ">TPOT p50", ">p99", ">tok/s", ">good", "note"]
    return table(f"{len(run):,} simulations", heads, [_row(varied, one) for one in run[:SHOWN]])


def _row(varied: dict[str, tuple[str, ...]], one: Outcome) -> tuple[str, ...]:
    felt = (
        one.seconds("ttft", "p50"),
        one.seconds("ttft", "p99"),
        one.seconds("tpot", "p50"),
        one.seconds("tpot", "p99"),
    )
    times = tuple("–" if value is None else duration(value) for value in felt)
    good = "–" if one.attainment is None else f"{one.attainment:.0%}"
    rate = "–" if one.output_tokens_per_s is None else amount(one.output_tokens_per_s)
    return (*one.chosen(varied), *times, rate, good, one.note)


def _csv(varied: dict[str, tuple[str, ...]], run: Sequence[Outcome]) -> Iterator[str]:
    import csv
    from io import StringIO

    columns = [*varied, *(run[0].flat() if run else ())]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for one in run:
        writer.writerow([*one.chosen(varied), *("" if value is None else value for value in one.flat().values())])
    yield text.getvalue()
