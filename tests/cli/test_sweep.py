"""A sweep is its simulations, in order, whoever runs them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Say = Callable[..., Any]
WORDS = ("llama-3.1-8b", "--on", "h100", "--requests", "40", "--input", "200", "--answer", "20")


def test_a_sweep_gives_what_each_simulation_alone_gives(say: Say) -> None:
    swept = say("sweep", *WORDS, "--vary", "rate=2/s,20/s", "--vary", "seed=0..1", "--cores", "1", "--json").document
    assert [one["varied"] for one in swept["simulations"]] == [
        {"rate": rate, "seed": seed} for rate in ("2/s", "20/s") for seed in ("0", "1")
    ]
    alone = say("simulate", *WORDS, "--rate", "20/s", "--seed", "1", "--json").document
    assert swept["simulations"][-1]["score"] == alone["score"]


def test_processes_give_the_same_as_one(say: Say, tmp_path: Path) -> None:
    words = ("sweep", *WORDS, "--vary", "rate=1/s,4/s,16/s", "--json")
    out = tmp_path / "swept.csv"
    several = say(*words, "--cores", "2", "--out", str(out)).document
    assert several == say(*words, "--cores", "1").document
    rows = list(csv.DictReader(out.open()))
    assert [row["rate"] for row in rows] == ["1/s", "4/s", "16/s"]
    assert float(rows[0]["tpot_p50_s"]) < float(rows[2]["tpot_p50_s"])


def test_a_combination_that_cannot_be_simulated_says_why(say: Say) -> None:
    swept = say(
        "sweep", "llama-3.1-8b", "--requests", "5", "--vary", "on=h100,h1000", "--cores", "1", "--json"
    ).document
    good, bad = swept["simulations"]
    assert good["score"]["ok"] == 5
    assert bad["score"] is None
    assert "unknown" in bad["note"]
    assert "h1000" in bad["note"]


def test_a_sweep_of_what_does_not_fit_ends_with_three(say: Say) -> None:
    said = say("sweep", "llama-3.3-70b", "--on", "h100", "--vary", "users=1,2", "--cores", "1")
    assert said.code == 3
    assert "weights do not fit" in said.complaint


def test_a_sweep_that_takes_no_request_ends_as_its_simulations_do(say: Say) -> None:
    words = ("llama-3.1-8b", "--on", "h100", "--requests", "5", "--input", "9000", "--users", "2")
    said = say("sweep", *words, "--vary", "max_model_len=2000,4000", "--cores", "1")
    assert said.code == say("simulate", *words, "--max-model-len", "2000").code == 3
    assert "none of 2 combinations takes a request" in said.complaint
    assert "longer than the context of 2,000 tokens" in said.complaint
    assert say("sweep", *words, "--vary", "max_model_len=2000,16000", "--cores", "1").code == 0, "one of them does"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--vary", "rate"), "write a flag and its values"),
        (("--vary", "rate="), "write a flag and its values"),
        (("--vary", "seed=5..1"), "rises by at least 1"),
        (("--vary", "seed=a..b"), "whole numbers"),
        (("--vary", "seed=0..999999999"), "at most"),
        (("--vary", "seed=0..99999", "--vary", "rate=1/s,2/s"), "200,000 combinations"),
        (("--vary", "seed=0,1", "--rows", "x.csv"), "leave it out of a sweep"),
        (("--vary", "seed=0,1", "--vary", "--seed=2"), "seed is said twice"),
        (("--vary", "sed=0,1"), "none of 2 combinations could be simulated; the first: No such option '--sed'"),
        (("--vary", "seed=0,1", "--ray", "127.0.0.1:1"), "--ray"),
    ],
)
def test_what_cannot_be_swept_is_refused(say: Say, words: tuple[str, ...], complaint: str) -> None:
    said = say("sweep", *WORDS, *words)
    assert said.code == 2
    assert complaint in said.complaint


def test_ctrl_c_while_processes_start_ends_at_once_in_one_line(tmp_path: Path) -> None:
    """It reaches the whole group, as from a terminal: what starts must not answer to it, nor be waited for."""
    out = tmp_path / "swept.csv"
    words = ("sweep", *WORDS, "--vary", "seed=0..2000", "--cores", "2", "--out", str(out))
    with subprocess.Popen(
        [sys.executable, "-m", "sizewell", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, text=True,
    ) as sweep:  # fmt: skip
        children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children")
        while sweep.poll() is None and len(children.read_text().split()) < 3:  # two, and who cleans up after them
            time.sleep(0.01)
        time.sleep(0.3)  # they read their modules
        os.killpg(sweep.pid, signal.SIGINT)
        _, said = sweep.communicate(timeout=60)
    assert (sweep.returncode, said.splitlines()) == (130, ["sizewell: interrupted"])
    assert list(tmp_path.iterdir()) == []
