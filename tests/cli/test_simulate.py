"""`sizewell simulate`: the same answer every time, files whole or not at all, every mistake one line."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sizewell.catalog.whole_files import whole_file
from sizewell.cli import run_files, simulations
from sizewell.cli.simulate import ROUTERS
from sizewell.simulator import facts
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests

Say = Callable[..., Any]
SMALL = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--input", "128", "--answer", "5")
OPEN = (*SMALL, "--rate", "20/s", "--requests", "40")


def but(words: tuple[str, ...], flag: str, value: str) -> tuple[str, ...]:
    """Return the words with another value of a flag."""
    at = words.index(flag) + 1
    return (*words[:at], value, *words[at + 1 :])


def document(say: Say, *words: str) -> Any:
    said = say(*words, "--json")
    assert said.code == 0, said.err
    return said.document


def test_what_is_offered_is_counted_and_served(say: Say) -> None:
    found = document(say, *OPEN, "--ttft", "1s", "--seed", "3")
    score, traffic = found["score"], found["traffic"]
    assert (traffic["requests"], traffic["seed"], traffic["mean_answer_tokens"]) == (40, 3, 5)
    assert traffic["rate_per_s"] == pytest.approx(20, rel=0.05)
    assert score["offered"] == score["ok"] + score["rejected"] + score["unfinished"] + score["failed"] == 40
    assert score["ttft"]["n"] == 40
    assert score["itl"]["n"] == 40 * 4
    assert score["ttft"]["p99_s"] is None
    assert "needs 100" in score["ttft"]["refused"]
    assert score["limits"] == [
        {"name": "mean ttft", "limit_s": 1.0, "value_s": score["ttft"]["mean_s"], "held": True}
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(say: Say) -> None:
    first, again, other = (say(*OPEN, "--json", "--seed", seed).out for seed in ("1", "1", "2"))
    assert first == again != other


def test_plain_and_compiled_runs_are_the_same(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = say(*OPEN, "--json").out
    monkeypatch.setattr(simulations, "LITTLE", 0)
    assert say(*OPEN, "--json").out == plain


def test_long_prompts_are_worth_compiling_for_and_few_short_ones_are_not() -> None:
    """A thousand prompts of 50,000 tokens with 10 tokens each took minutes as plain Python."""
    assert simulations.worth_compiling(Requests.of(np.zeros(1000), 50_000, 10))
    assert not simulations.worth_compiling(Requests.of(np.zeros(20), 1000, 100))


def test_users_keep_so_many_requests_in_flight(say: Say) -> None:
    found = document(say, *SMALL, "--users", "4", "--requests", "24")
    assert found["traffic"]["rate_per_s"] is None
    score = found["score"]
    in_flight = score["wall"]["requests_per_s"] * score["e2e"]["mean_s"]
    assert in_flight == pytest.approx(4, rel=0.02)


def test_users_who_keep_step_are_said_to(say: Say) -> None:
    load = ("--on", "h100", "--input", "100", "--answer", "10", "--requests", "24")
    assert "keep in step" in say("simulate", "llama-3.1-8b", *load, "--users", "4").out
    for other in (("--users", "4", "--length-sigma", "0.5"), ("--users", "1"), ("--rate", "4/s")):
        assert "keep in step" not in say("simulate", "llama-3.1-8b", *load, *other).out


def test_a_workload_file_says_what_flags_cannot(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "talk.toml"
    file.write_text(
        """ttft = "2s"
        [traffic]
        arrivals = { process = "users", users = 4, pause = "1s" }
        sessions = { turns = 4 }
        [[traffic.classes]]
        text = 300
        answer = 5
        """
    )
    talk = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--requests", "40", "--workload", str(file))
    found = document(say, *talk)
    assert found["limits"]["ttft_s"] == 2
    assert found["traffic"]["mean_input_tokens"] == pytest.approx(300 * 2.5 + 5 * 1.5)
    assert 0.3 < found["score"]["cached_fraction"] < 0.9
    assert "keep one of the two" in say(*talk, "--arrivals", "constant").complaint


@pytest.mark.parametrize(
    "shape",
    [
        ("--arrivals", "constant"),
        ("--arrivals", "at-once"),
        ("--burstiness", "0.3"),
        ("--length-sigma", "0.8"),
        ("--shared-prefix", "64"),
        ("--think", "3"),
        ("--growth", "2"),
    ],
    ids=" ".join,
)
def test_every_shape_of_traffic_is_served(say: Say, shape: tuple[str, ...]) -> None:
    assert document(say, *OPEN, *shape)["score"]["ok"] == 40


def test_a_trace_is_played_as_recorded_or_at_another_rate(say: Say, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = "\n".join(f"{n * 0.5},{100 + n},5" for n in range(20))
    trace.write_text(f"arrival_s,input_tokens,answer_tokens\n{rows}\n")
    played = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--trace", str(trace))
    found = document(say, *played)
    assert found["traffic"]["source"] == "sizewell"
    assert found["traffic"]["rate_per_s"] == pytest.approx(2)
    assert found["traffic"]["mean_input_tokens"] == pytest.approx(109.5)
    assert document(say, *played, "--rate", "4/s")["score"]["wall"]["window_s"] < found["score"]["wall"]["window_s"]
    assert document(say, *played, "--duration", "2s")["traffic"]["requests"] == 5
    assert "give one of the two" in say(*played, "--input", "100").complaint
    assert "20 requests" in say(*played, "--requests", "21").complaint


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_lowest_priority_number_waits_least_where_the_engine_is_told(say: Say, tmp_path: Path, engine: str) -> None:
    """Every second request is urgent, and one is served at a time."""
    trace, path = tmp_path / "trace.csv", tmp_path / "rows.csv"
    rows = "\n".join(f"{n * 0.02},64,5,{n % 2}" for n in range(40))
    trace.write_text(f"arrival_s,input_tokens,answer_tokens,priority\n{rows}\n")
    words = ("simulate", "llama-3.1-8b", "--on", "h100", "--engine", engine, "--trace", str(trace), "--rows", str(path))
    waits, said = [], []
    for flags in ((), ("--by-priority",)):
        said.append(say(*words, "--max-num-seqs", "1", *flags).out)
        found = list(csv.DictReader(path.open()))
        felt = np.array([float(row["first_token_s"]) - float(row["scheduled_s"]) for row in found])
        waits.append(felt[0::2].mean() / felt[1::2].mean())
    assert waits[0] == pytest.approx(1, abs=0.1)
    assert waits[1] < 0.6
    assert ["without --by-priority" in text for text in said] == [True, False]


def test_too_long_requests_are_rejected_and_late_ones_unfinished(say: Say, tmp_path: Path) -> None:
    said = say(*OPEN, "--max-model-len", "100", "--json")
    short = said.document
    assert said.code == 3, "what takes not one request does not fit"
    assert short["score"]["rejected"] == 40
    assert short["score"]["ttft"] == {
        "n": 0, "mean_s": None, "p50_s": None, "p90_s": None, "p95_s": None, "p99_s": None, "refused": "no values"
    }  # fmt: skip
    plots = tmp_path / "plots.html"
    assert say(*OPEN, "--max-model-len", "100", "--plots", str(plots), "--chrome-trace", "/dev/null").code == 3
    assert "Requests per second" in plots.read_text()
    assert "the context of 100 tokens" in plots.read_text()


@pytest.mark.parametrize("load", [("--rate", "20/s"), ("--users", "8")])
def test_what_was_not_due_when_the_play_stopped_was_not_offered(
    say: Say, tmp_path: Path, load: tuple[str, ...]
) -> None:
    path = tmp_path / "rows.csv"
    words = (*but(SMALL, "--answer", "50"), *load, "--requests", "90", "--until", "1s", "--rows", str(path))
    cut = document(say, *words)["score"]
    rows = list(csv.DictReader(path.open()))
    assert cut["unfinished"] > 0 and cut["ok"] > 0
    assert cut["ok"] + cut["unfinished"] == cut["offered"] == len(rows) < 90
    assert all(float(row["sent_s"]) == float(row["scheduled_s"]) <= 1.0 for row in rows)
    assert f"{90 - len(rows)} more were not due within 1 s" in say(*words).out


def test_a_play_that_stops_before_anything_was_due_says_so(say: Say, tmp_path: Path) -> None:
    files = ("--plots", str(tmp_path / "p.html"), "--chrome-trace", str(tmp_path / "t.json"))
    said = say(*SMALL, "--rate", "1/s", "--requests", "10", "--until", "1ms", *files)
    assert (said.code, "served 0 of 0 requests" in said.out) == (0, True)


def test_an_engine_that_falls_behind_is_called_overloaded(say: Say) -> None:
    flood = (*SMALL, "--rate", "400/s", "--requests", "100", "--max-num-seqs", "4")
    assert "were waiting" in document(say, *flood)["overload"]
    assert "OVERLOADED" in say(*flood).out
    assert document(say, *OPEN)["overload"] == ""


def test_strict_ends_with_four_when_a_limit_is_missed(say: Say) -> None:
    assert say(*OPEN, "--ttft", "1ms").code == 0
    missed = say(*OPEN, "--ttft", "1ms", "--strict")
    assert missed.code == 4
    assert "LIMIT MISSED: mean ttft" in missed.out
    assert say(*OPEN, "--max-model-len", "100", "--strict").code == 3, "nobody can be"
    assert say(*OPEN, "--ttft", "10s", "--strict").code == 0
    guess = say(*OPEN, "--ttft", "10s", "--strict", "--statistic", "p99")
    assert guess.code == 4
    assert "p99 of 40 values is a guess" in guess.out
    assert "LIMIT UNDECIDED: there is no p99 ttft" in guess.out


def test_what_does_not_fit_is_explained_and_ends_with_three(say: Say, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    said = say("simulate", "llama-3.3-70b", "--on", "1xh100", "--rows", str(rows))
    assert said.code == 3
    assert "WEIGHTS DO NOT FIT" in said.out
    assert not rows.exists()
    refused = say("simulate", "llama-3.3-70b", "--on", "1xh100", "--json")
    assert (refused.code, refused.document["score"], refused.document["memory"]["fits"]) == (3, None, False)


def test_rows_hold_every_request_and_what_never_came_is_empty(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    score = document(say, *but(OPEN, "--answer", "30"), "--max-num-seqs", "1", "--until", "1s", "--rows", str(path))[
        "score"
    ]
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == score["offered"] < 40
    served = [row for row in rows if row["status"] == "ok"]
    waits = [float(row["first_token_s"]) - float(row["scheduled_s"]) for row in served]
    assert math.fsum(waits) / len(waits) == pytest.approx(score["ttft"]["mean_s"])
    assert {row["first_token_s"] == "" for row in rows if row["output_tokens"] == "0"} == {True}


def test_parquet_rows_say_the_same_or_name_the_extra(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    path = tmp_path / "rows.parquet"
    try:
        from pyarrow import parquet
    except ImportError:
        assert "sizewell[parquet]" in say(*OPEN, "--rows", str(path)).complaint
        return
    assert say(*OPEN, "--rows", str(path)).code == 0
    table = parquet.read_table(path)
    assert table.num_rows == 40
    assert set(table["status"].to_pylist()) == {"ok"}


def test_a_chrome_trace_gives_every_request_a_lane_of_its_own(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    say(*OPEN, "--think", "5", "--chrome-trace", str(path))
    events = json.loads(path.read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["name"] for event in spans} == {"to first token", "think", "answer"}
    assert {event["args"]["request"] for event in spans} == set(range(40))
    for lane in {event["tid"] for event in spans}:
        mine = sorted((e["ts"], round(e["ts"] + e["dur"], 3)) for e in spans if e["tid"] == lane)
        assert all(end <= start for (_, end), (start, _) in pairwise(mine))


def test_a_chrome_trace_is_in_order_and_counts_a_fleet_beside_its_replicas(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    say(*but(OPEN, "--on", "2xh100"), "--tp", "1", "--replicas", "2", "--chrome-trace", str(path))
    events = json.loads(path.read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {0: "replica 0", 1: "replica 1", 2: "load and cache"}
    assert {event["pid"] for event in events if event["ph"] == "C"} == {2}
    assert {event["pid"] for event in events if event["ph"] == "X"} == {0, 1}
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_plots_stand_alone_and_stay_small(say: Say, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plots{suffix}"
    assert say(*OPEN, "--ttft", "50ms", "--plots", str(path)).code == 0
    text = path.read_text()
    assert len(text) < 500_000
    assert "TTFT limit" in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "<script" not in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--requests", "5", "--duration", "5s"), "give one of the two"),
        (("--requests", "0"), "out of range"),
        (("--requests", "1e9"), "out of range"),
        (("--seed", "-1"), "out of range"),
        (("--plots", "out.png"), ".html or .svg"),
        (("--rows", "/nonexistent/rows.csv"), "there is no folder"),
        (("--rows", "/"), "is a folder"),
        (("--arrivals", "constant", "--burstiness", "2"), "--burstiness"),
        (("--arrivals", "ramp"), "ramp"),
        (("--trace", "/nonexistent.csv"), "/nonexistent.csv"),
        (("--input", "0"), "input tokens"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(say: Say, words: tuple[str, ...], part: str) -> None:
    rate = () if "--trace" in words else ("--rate", "5/s")
    said = say("simulate", "llama-3.1-8b", "--on", "1xh100", *rate, *words)
    assert said.code == 2
    assert part in said.complaint


def test_users_do_not_arrive(say: Say) -> None:
    assert "needs --rate" in say(*SMALL, "--users", "4", "--arrivals", "constant").complaint
    assert "closed loop" in say(*SMALL, "--users", "4", "--duration", "5s").complaint


def test_an_interrupted_file_is_not_there_and_the_old_one_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_simulation_leaves_nothing(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_files, "_texts", interrupted)
    said = say(*OPEN, "--rows", str(tmp_path / "rows.csv"))
    assert (said.code, said.complaint, list(tmp_path.iterdir())) == (130, "sizewell: interrupted", [])


def test_a_full_disk_is_named() -> None:
    with pytest.raises(BadInputError, match="No space left"), whole_file(Path("/dev/full")) as file:
        file.write("x" * 100_000)


def test_replicas_share_the_load_as_the_router_says(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    fleet = (*but(OPEN, "--on", "4xh100"), "--tp", "1", "--rows", str(path))
    found = document(say, *fleet, "--router", "least-requests")
    assert found["router"] == "least-requests"
    assert {row["replica"] for row in csv.DictReader(path.open())} == {"0", "1", "2", "3"}
    assert found["score"]["ok"] == 40
    assert ROUTERS == facts.ROUTERS


def test_another_engine_says_that_it_is_played_by_the_rules_of_vllm(say: Say) -> None:
    gguf = document(say, *OPEN, "--engine", "llama.cpp", "--weight-format", "gguf-q8_0")
    assert "rules of vllm" in gguf["assumed"][0]
    assert document(say, *OPEN, "--engine", "sglang")["assumed"] == document(say, *OPEN)["assumed"] == []


def test_a_trace_that_says_what_happened_stands_beside_the_simulation(say: Say, tmp_path: Path) -> None:
    trace = tmp_path / "served.jsonl"
    times = [(n * 0.5, n * 0.5 + 0.1, n * 0.5 + 0.5) for n in range(12)]
    trace.write_text(
        "".join(
            json.dumps(
                {
                    "arrival_time": at,
                    "input_toks": 100,
                    "output_toks": 5,
                    "queued_ts": at,
                    "first_token_ts": first,
                    "last_token_ts": last,
                }
            )
            + "\n"
            for at, first, last in times
        )
    )
    played = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--trace", str(trace))
    found = document(say, *played)
    assert found["measured"]["ttft"]["mean_s"] == pytest.approx(0.1)
    assert found["measured"]["tpot"]["mean_s"] == pytest.approx(0.1)
    assert "Measured, as the trace says" in say(*played).out
    assert document(say, *played, "--requests", "5")["measured"] is None


def test_more_users_than_requests_are_all_there(say: Say) -> None:
    """1,000 requests of 2,000 users are half the users, once: 25 ms a token where a plan said 58 ms."""
    crowd = ("simulate", "llama-3.1-8b", "--on", "8xh100", "--tp", "1", "--input", "100", "--answer", "4")
    found = document(say, *crowd, "--users", "1500")
    assert (found["score"]["offered"], found["score"]["steady"] is not None) == (6000, True)
    assert document(say, *crowd, "--users", "8")["score"]["offered"] == 1000


def test_requests_that_only_fill_a_server_are_said_to(say: Say) -> None:
    """1,000 requests at 20/s of a minute each never saw it full: 103 ms a token where a plan said that the queue never
    ends, and nothing was said of it.
    """
    load = ("simulate", "llama-3.3-70b", "--on", "4xh100", "--rate", "9/s", "--input", "500", "--answer", "400")
    few = document(say, *load, "--requests", "100")
    (said,) = few["assumed"]
    more = re.search(r"--requests (\d+) shows", said)
    assert more is not None
    settled = document(say, *load, "--requests", more[1])
    assert settled["assumed"] == []
    assert settled["score"]["tpot"]["mean_s"] > 1.02 * few["score"]["tpot"]["mean_s"]
