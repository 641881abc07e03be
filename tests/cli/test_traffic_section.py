"""The traffic section of a workload file: what it means, what a plan takes from it, and every mistake with its line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from sizewell.catalog.workloads import list_workloads, workload_path
from sizewell.cli.options import workload_flags, workload_of
from sizewell.cli.traffic_section import offered_traffic
from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import AllAtOnce, Constant, Gamma, Pause, Users, Varying, Window, poisson
from sizewell.traffic.classes import Observed, RequestClass
from sizewell.traffic.lengths import Fixed, Lognormal, Uniform
from sizewell.traffic.offer import Traffic, offer
from sizewell.traffic.prefixes import SharedPrefix
from sizewell.traffic.profile import RateProfile, diurnal, ramp
from sizewell.traffic.sessions import Sessions

Say = Callable[..., Any]
WORDS = ("plan", "llama-3.1-8b", "--gpu", "h100", "--json")
ARRIVALS = "traffic:\n  arrivals: {%s}\n"
CLASSES = "traffic:\n  classes: [{%s}]\n"
WHOLE = """\
ttft: 2s
traffic:
  arrivals:
    process: users
    users: 40
    pause: 20s
    spread: exponential
  prefixes:
    - tokens: 500
    - {tokens: {mean: 4k, sigma: 0.8}, copies: 1000, zipf: 1, fraction: 60%}
  classes:
    - {name: easy, weight: 5, text: 80, think: {p50: 200, p99: 3k, most: 8k}, answer: {least: 200, most: 600}}
    - {text: {nominal: 1024}, answer: 400, priority: 2}
  sessions:
    turns: {mean: 4, sigma: 0.5}
    later_text: 60
    pause: 5s
    keep-thinking: true
    most_context: 32k
"""


def meant(folder: Path, text: str, *flags: str, name: str = "load.yaml") -> Traffic:
    """Return what a command with these flags and this file would offer."""
    found: list[Traffic] = []

    @click.command()
    @workload_flags()
    @click.option("--ttft")
    @click.pass_context
    def ask(ctx: click.Context, /, **given: Any) -> None:
        found.append(offered_traffic(ctx, workload_of(ctx, given)))

    path = folder / name
    path.write_text(text)
    ask(["--workload", str(path), *flags], standalone_mode=False)
    return found[0]


def test_a_whole_section(tmp_path: Path) -> None:
    traffic = meant(tmp_path, WHOLE)
    assert traffic.arrivals == Users(users=40, pause=Pause(mean_s=20, spread="exponential"))
    assert traffic.prefixes == (
        SharedPrefix(tokens=Fixed(500)),
        SharedPrefix(tokens=Lognormal(mean_tokens=4000, sigma=0.8), copies=1000, zipf=1, fraction=0.6),
    )
    easy, other = traffic.classes
    assert easy == RequestClass(
        text=Fixed(80),
        think=Lognormal.through(200, 3000, 8000),
        answer=Uniform(least_tokens=200, most_tokens=600),
        weight=5,
    )
    assert other == RequestClass(text=Uniform(least_tokens=819, most_tokens=1024), answer=Fixed(400), priority=2)
    assert traffic.sessions == Sessions(
        turns=Lognormal(mean_tokens=4, sigma=0.5),
        later_text=Fixed(60),
        pause=Pause(mean_s=5),
        keep_thinking=True,
        most_context_tokens=32_000,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("process: poisson, rate: 90/min", poisson(1.5)),
        ("process: gamma, rate: 2/s, burstiness: 0.5", Gamma(rate_per_s=2, burstiness=0.5)),
        ("process: constant, rate: 2", Constant(rate_per_s=2)),
        ("process: window, concurrency: 8, pause: 1s", Window(concurrency=8, pause_s=1)),
        ("process: at-once", AllAtOnce()),
        ("process: ramp, from: 0, to: 9/s, over: 5min", Varying(profile=ramp(0, 9, 300))),
        (
            "process: diurnal, rate: 9/s, peak_over_mean: 1.5, peak_at: 14h",
            Varying(profile=diurnal(9, 1.5, 50_400), middle_s=50_400),
        ),
        (
            "process: diurnal, rate: 9/s, peak_over_mean: 1.5, begin: 6h, day: 10h",
            Varying(profile=diurnal(9, 1.5, 18_000, 36_000), begin_s=21_600),
        ),
        (
            "process: steps, at: [0s, 1min, 2min], rates: [1/s, 5/s, 1/s], repeats: true, burstiness: 2",
            Varying(profile=RateProfile(at_s=(0, 60, 120), rate_per_s=(1, 5, 1), repeats=True), burstiness=2),
        ),
    ],
)
def test_every_process_can_be_said(tmp_path: Path, words: str, expected: object) -> None:
    text = ARRIVALS % words
    assert meant(tmp_path, text).arrivals == expected


def simulated(say: Say, folder: Path, text: str, *flags: str) -> Any:
    (folder / "load.yaml").write_text(text)
    said = say("simulate", "llama-3.1-8b", "--on", "h100", "--workload", str(folder / "load.yaml"), "--json", *flags)
    assert said.code == 0, said.err
    return said.document


def test_a_simulation_offers_the_bursts_a_file_describes(say: Say, tmp_path: Path) -> None:
    """Gaps of shape 0.2 vary by √5 of their mean; those of a Poisson process by 1."""
    text = ARRIVALS % "process: gamma, rate: 4/s, burstiness: 0.2" + "  classes: [{text: 20, answer: 1}]\n"
    rows = tmp_path / "rows.csv"
    simulated(say, tmp_path, text, "--requests", "1500", "--rows", str(rows))
    gaps = np.diff([float(row["scheduled_s"]) for row in csv.DictReader(rows.open())])
    assert gaps.std() / gaps.mean() == pytest.approx(5**0.5, rel=0.15)
    assert gaps.mean() == pytest.approx(1 / 4, rel=0.01)


def test_less_than_a_day_is_its_busiest_part_unless_it_begins_somewhere(say: Say, tmp_path: Path) -> None:
    """Plans hold the peak of 3 × 1.8 a second; 900 requests around it come nearly at that rate."""
    text = ARRIVALS % "process: diurnal, rate: 3/s, peak_over_mean: 1.8, day: 1h%s" + (
        "  classes: [{text: 20, answer: 1}]\n"
    )
    peak = simulated(say, tmp_path, text % "", "--requests", "900")["traffic"]
    assert peak["rate_per_s"] == pytest.approx(3 * 1.8, rel=0.02)
    assert "a day has 10,800 (--duration 1h)" in peak["notes"][0]
    early = simulated(say, tmp_path, text % ", begin: 0s", "--requests", "900")["traffic"]
    assert (0.6 < early["rate_per_s"] < 1.5, early["notes"]) == (True, [])
    whole = simulated(say, tmp_path, text % "", "--duration", "1h")["traffic"]
    assert (whole["requests"], whole["notes"]) == (10_800, [])
    assert whole["rate_per_s"] == pytest.approx(3, rel=0.005)


def test_people_in_a_closed_loop_are_no_rate(say: Say, tmp_path: Path) -> None:
    text = ARRIVALS % "process: users, users: 5, pause: 3s, start_over: 2s" + "  classes: [{text: 20, answer: 4}]\n"
    found = simulated(say, tmp_path, text, "--requests", "60")
    assert (found["traffic"]["rate_per_s"], found["traffic"]["concurrency"]) == (None, 5)


def test_what_the_section_leaves_out_is_as_the_flags_say(tmp_path: Path) -> None:
    traffic = meant(
        tmp_path, "input: 2k\nshared_prefix: 500\n" + ARRIVALS % "process: constant, rate: 2", "--answer", "9"
    )
    assert traffic.classes == (RequestClass(text=Fixed(1500), answer=Fixed(9)),)
    assert traffic.prefixes == (SharedPrefix(tokens=Fixed(500)),)
    traffic = meant(tmp_path, "rate: 3/s\ngrowth: 2\n" + CLASSES % "text: 5, answer: 6")
    assert traffic == Traffic(arrivals=poisson(6.0), classes=(RequestClass(text=Fixed(5), answer=Fixed(6)),))
    assert meant(tmp_path, "users: 7\n").arrivals == Window(concurrency=7)


def test_flags_change_the_load_of_a_section(tmp_path: Path) -> None:
    bursty = ARRIVALS % "process: gamma, rate: 2, burstiness: 0.5"
    assert meant(tmp_path, bursty, "--rate", "8/s").arrivals == Gamma(rate_per_s=8, burstiness=0.5)
    assert meant(tmp_path, bursty, "--growth", "1.5").arrivals == Gamma(rate_per_s=3, burstiness=0.5)
    assert meant(tmp_path, bursty, "--users", "8").arrivals == Window(concurrency=8)
    assert meant(tmp_path, WHOLE, "--growth", "2").arrivals == Users(
        users=80, pause=Pause(mean_s=20, spread="exponential")
    )
    with pytest.raises(BadInputError, match="--answer and the classes of the workload file contradict"):
        meant(tmp_path, WHOLE, "--answer", "5")


def test_lengths_from_a_trace_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,answer_tokens\n0,10,1\n1,40,4\n")
    traffic = meant(tmp_path, "rate: 3\n" + CLASSES % "trace: t.csv")
    assert isinstance(traffic.classes[0], Observed)
    assert set(offer(traffic, 10).input_tokens) == {10, 40}


def test_a_plan_is_made_for_the_means(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "load.toml"
    path.write_text(
        '[traffic]\narrivals = { process = "ramp", from = 1, to = 4, over = "1h" }\nprefixes = [{ tokens = 300 }]\n'
        "[[traffic.classes]]\ntext = 100\nanswer = { least = 100, most = 300 }\nthink = 40\nweight = 3\n"
        "[[traffic.classes]]\ntext = 500\nanswer = 200\n"
    )
    said = say(*WORDS, "--workload", str(path))
    assert said.code == 0, said.err
    workload = said.document["question"]["workload"]
    assert workload == {
        "input_tokens": 500, "answer_tokens": pytest.approx(200, rel=1e-5),
        "think_tokens": 30, "users": None, "rate_per_s": 4,
        "shared_prefix_tokens": 300, "growth": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", list_workloads())
def test_every_shipped_workload_can_be_planned_for_and_offered(say: Say, name: str, tmp_path: Path) -> None:
    said = say(*WORDS, "--workload", name)
    assert said.code == 0, said.err
    text = workload_path(name).read_text()
    assert "Assumed" in text or "itted" in text, "a preset says where it is from"
    assert len(offer(meant(tmp_path, text, name="load.toml"), 500)) == 500


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("traffic: 7\n", "load.yaml:1: traffic: '7' is not a section"),
        ("traffic:\n  arivals: {process: poisson}\n", "load.yaml:2: traffic.arivals: unknown key; did you mean arr"),
        (ARRIVALS % "process: poison, rate: 2", "load.yaml:2: traffic.arrivals.process: 'poison' is none of"),
        (ARRIVALS % "rate: 2", "traffic.arrivals.process: None is none of"),
        (ARRIVALS % "process: poisson", "load.yaml:2: traffic.arrivals: lacks rate: write e.g. rate: 20/s"),
        (ARRIVALS % "process: poisson, rate: fast", "load.yaml:2: traffic.arrivals.rate: 'fast' is no rate"),
        (ARRIVALS % "process: poisson, rate: -2", "traffic.arrivals.rate: '-2' is out of range"),
        (ARRIVALS % "process: poisson, rate: 2, burstiness: 2", "traffic.arrivals.burstiness: unknown key"),
        (ARRIVALS % "process: gamma, rate: 2, burstiness: 0", "load.yaml:2: traffic.arrivals: burstiness is 0"),
        (ARRIVALS % "process: ramp, from: 0, to: 0, over: 1min", "traffic.arrivals: every rate of the profile is 0"),
        (ARRIVALS % "process: steps, at: 3, rates: [1]", "traffic.arrivals.at: '3' is no list"),
        (ARRIVALS % "process: steps, at: [0s, x], rates: [1]", "traffic.arrivals.at: 'x' is no duration"),
        (ARRIVALS % "process: users, users: 2.5", "traffic.arrivals.users: '2.5' is not whole"),
        (ARRIVALS % "process: users, users: 2, spread: wide", "'wide' is none of fixed, exponential"),
        ("rate: 3\n" + ARRIVALS % "process: constant, rate: 2", "load.yaml:1: rate: the section traffic says this"),
        ("input: 3\n" + CLASSES % "text: 5, answer: 6", "load.yaml:1: input: the section traffic says this already"),
        ("traffic:\n  sessions: {turns: 3}\n", "load.yaml:2: traffic.sessions: needs classes beside it"),
        ("traffic:\n  classes: []\n", "load.yaml:2: traffic.classes: names no class"),
        ("traffic:\n  classes: {text: 3}\n", "is no list of sections"),
        ("traffic:\n  classes: [7]\n", "load.yaml:2: traffic.classes.0: '7' is not a section"),
        (CLASSES % "text: 5", "load.yaml:2: traffic.classes.0: lacks answer"),
        (CLASSES % "text: 5, answer: {mean: 6}", "traffic.classes.0.answer: lacks sigma"),
        (CLASSES % "text: 5, answer: {mean: 6, sigma: 1, most: 5}", "classes.0.answer: lognormal lengths have a mean"),
        (CLASSES % "text: 5, answer: {p50: 6, p99: 5}", "traffic.classes.0.answer: a length has p50 6 and p99 5"),
        (CLASSES % "text: 5, answer: {mean: 6, sigma: 1, skew: 5}", "traffic.classes.0.answer.skew: unknown key"),
        (CLASSES % "text: 5, answer: {least: 6, most: 5}", "the most of a uniform length is 5"),
        (CLASSES % "text: 5, answer: -5", "traffic.classes.0.answer: '-5' is out of range"),
        (CLASSES % "text: 5, answer: 5, weight: 0", "at least one class"),
        (CLASSES % "text: 0, answer: 5", "0 input tokens"),
        (CLASSES % "trace: absent.csv", "absent.csv: cannot be read"),
        ("traffic:\n  classes:\n   - text: 5\n     answer: 6\n     text: 7\n", "load.yaml:5: traffic.classes.0.text"),
        ("traffic:\n  classes: [{text: 5, answer: 6}]\n  sessions: {turns: 2, keep_thinking: 7}\n", "is not true"),
    ],
)  # fmt: skip
def test_mistakes_are_named(say: Say, tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "load.yaml"
    path.write_text(text)
    said = say(*WORDS, "--workload", str(path))
    assert said.code == 2
    assert said.out == ""
    assert expected in said.complaint


def test_an_unknown_workload_is_named(say: Say) -> None:
    said = say(*WORDS, "--workload", "reasonin")
    assert said.code == 2
    assert "reasonin: no such file, and no shipped workload; did you mean reasoning?" in said.complaint
