"""Split pools, their network, a replica lost, cache in host memory: reached from the command line, refused in words."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sizewell.cli.pool_flags import parse_pool
from sizewell.planner.stated import StatedPool
from sizewell.specs.deployment import Parallelism
from sizewell.specs.errors import BadInputError

Say = Callable[..., Any]
POOLS = ("llama-3.1-8b", "--on", "4xh100", "--prefill", "1xTP1", "--decode", "3xTP1", "--rate", "12/s")
PLAYED = ("simulate", *POOLS, "--requests", "60", "--answer", "50")


def document(say: Say, *words: str) -> Any:
    said = say(*words, "--json")
    assert said.code == 0, said.err
    return said.document


@pytest.mark.parametrize(
    ("text", "pool"),
    [
        ("2xTP4", StatedPool(replicas=2, cut=Parallelism(tp=4))),
        ("tp8", StatedPool(replicas=1, cut=Parallelism(tp=8))),
        ("3×TP1×DP8×EP8", StatedPool(replicas=3, cut=Parallelism(dp=8, ep=8))),
        ("1xTP4xPP2", StatedPool(replicas=1, cut=Parallelism(tp=4, pp=2))),
    ],
)
def test_a_pool_is_said_in_a_word(text: str, pool: StatedPool) -> None:
    assert parse_pool(text) == pool


@pytest.mark.parametrize("text", ["", "2", "x", "2xTP", "TP4xTP2", "0xTP4", "2xTP0", "-1xTP2", "2xQP4", "2 x TP4 y"])
def test_what_is_no_pool_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"2xTP4|at least 1"):
        parse_pool(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prefill", "TP1"), "both --prefill and --decode"),
        (("--kv-network", "infiniband-ndr-400"), "both --prefill and --decode"),
        (("--prefill", "TP1", "--decode", "TP1", "--tp", "2"), "leave --tp"),
        (("--prefill", "4xTP1", "--decode", "TP1"), "need 5 accelerators, there are 4"),
        (("--prefill", "TP1", "--decode", "TP3"), "does not divide over TP3"),
        (("--prefill", "TP1", "--decode", "TP1", "--kv-network", "infinibant-ndr-400"), "infiniband-ndr-400"),
        (("--prefill", "TP1", "--decode", "TP1", "--engine", "llama.cpp"), "hands no cache over"),
        (("--kv-host-memory", "1MiB"), "hold no block"),
    ],
)
def test_pools_that_cannot_be_are_refused_in_one_line(say: Say, words: tuple[str, ...], said: str) -> None:
    found = say("simulate", "llama-3.1-8b", "--on", "4xh100", "--requests", "5", *words)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_every_prompt_is_moved_once_and_a_slower_network_takes_longer(say: Say) -> None:
    fast = document(say, *PLAYED)
    slow = document(say, *PLAYED, "--kv-network", "ethernet-10")
    assert [pool["role"] for pool in fast["deployment"]["pools"]] == ["prefill", "decode"]
    assert fast["network"]["prompts"] == slow["network"]["prompts"] == 60
    assert slow["deployment"]["kv_network"] == "ethernet-10"
    for found in (fast, slow):
        assert found["score"]["ok"] == 60
        assert 0 < found["network"]["busiest_fraction"] <= 1
    assert slow["network"]["travelled_s"] > 10 * fast["network"]["travelled_s"]
    added = slow["score"]["ttft"]["mean_s"] - fast["score"]["ttft"]["mean_s"]
    moved = slow["network"]["waited_s"] + slow["network"]["travelled_s"] - fast["network"]["travelled_s"]
    assert added == pytest.approx(moved, rel=0.3)


def test_a_cache_is_as_heavy_whatever_the_engine_calls_a_block(say: Say) -> None:
    vllm, sglang = (document(say, *PLAYED, "--engine", name)["network"] for name in ("vllm", "sglang"))
    assert sglang["travelled_s"] == pytest.approx(vllm["travelled_s"], rel=0.05)


def test_a_cache_takes_its_bytes_over_the_stated_rate(say: Say) -> None:
    """1,000 tokens are 63 blocks of 2 MiB; four accelerators have two of the node's eight ports of 50 GB/s each."""
    network = document(say, *PLAYED, "--kv-network", "infiniband-ndr-400")["network"]
    at_full_rate_s = 63 * 2**21 / 2 / 50e9
    assert at_full_rate_s < network["travelled_s"] < 2 * at_full_rate_s


def test_prompts_do_not_disturb_the_tokens_of_others(say: Say) -> None:
    """That is what two pools are for: the slowest gaps are near the usual ones."""
    split = document(say, *PLAYED)["score"]["itl"]
    mixed = document(say, "simulate", "llama-3.1-8b", "--on", "h100", *PLAYED[-6:])["score"]["itl"]
    assert split["p99_s"] / split["p50_s"] < 1.5 < mixed["p99_s"] / mixed["p50_s"]


def test_files_show_both_pools_and_what_travels_between_them(say: Say, tmp_path: Path) -> None:
    rows, line, trace, plots = (tmp_path / name for name in ("rows.csv", "line.csv", "trace.json", "plots.html"))
    files = ("--rows", rows, "--timeline", line, "--chrome-trace", trace, "--plots", plots)
    assert say(*PLAYED, "--kv-network", "ethernet-25", *map(str, files)).code == 0
    with rows.open() as file:
        requests = list(csv.DictReader(file))
    steps = ("sent_s", "computed_s", "asked_s", "left_s", "came_s", "first_token_s", "last_token_s")
    for request in requests:
        times = [float(request[name]) for name in steps]
        assert times == sorted(times)
        assert request["prefill_replica"] == "0"
    with line.open() as file:
        seen = list(csv.DictReader(file))
    assert {sample["pool"] for sample in seen} == {"prefill", "decode"}
    assert max(int(sample["moving"]) for sample in seen) >= 1
    assert sum(int(sample["tokens"]) for sample in seen if sample["pool"] == "prefill") == 60
    assert max(int(sample["running"]) for sample in seen if sample["pool"] == "prefill") >= 1
    events = json.loads(trace.read_text())["traceEvents"]
    assert [event["ts"] for event in events if "ts" in event] == sorted(e["ts"] for e in events if "ts" in e)
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    phases = {(names[event["pid"]].rstrip(" 0123456789"), event["name"]) for event in events if event["ph"] == "X"}
    assert phases == {
        *(("prefill replica", name) for name in ("prompt", "hold")),
        *(("KV network", name) for name in ("in line", "travels")),
        *(("decode replica", name) for name in ("cache comes", "to first token", "answer")),
    }
    assert {names[event["pid"]] for event in events if event["ph"] == "C"} == {
        f"load and cache, {pool} pool" for pool in ("prefill", "decode")
    }
    drawn = plots.read_text()
    assert all(part in drawn for part in ("in the prefill pool", "in the decode pool", "on their way"))


def test_the_decode_pool_may_stand_on_another_kind_of_accelerator(say: Say, tmp_path: Path) -> None:
    """Prompts take what they take on H100, tokens what they take on H200."""
    words = ("simulate", "llama-3.1-8b", "--prefill", "1xTP1", "--decode", "1xTP1", "--rate", "3/s", "--requests", "60",
             "--answer", "50", "--kv-network", "infiniband-ndr-400")  # fmt: skip
    slow, fast = (document(say, *words, "--on", f"2x{gpu}") for gpu in ("h100", "h200"))
    both = document(say, *words, "--on", "1xh100", "--decode-on", "1xh200")
    assert both["score"]["tpot"]["mean_s"] == pytest.approx(fast["score"]["tpot"]["mean_s"], rel=1e-6)
    assert both["score"]["tpot"]["mean_s"] < 0.85 * slow["score"]["tpot"]["mean_s"]
    assert both["deployment"]["decode_on"]["gpu"] == "h200-sxm-141gb"
    (tmp_path / "both.json").write_text(json.dumps(both))
    again = document(
        say, "simulate", str(tmp_path / "both.json"), "--rate", "3/s", "--requests", "60", "--answer", "50"
    )
    assert again["score"] == both["score"]
    assert "only `sizewell simulate` takes it" in say("explain", str(tmp_path / "both.json")).complaint
    assert "no cache goes from nvidia to amd" in say(*words, "--on", "h100", "--decode-on", "mi300x").complaint
    assert "both --prefill and --decode" in say("simulate", "llama-3.1-8b", "--on", "h100", "--decode-on", "t4").err


def test_a_replica_lost_is_played(say: Say) -> None:
    front, back = document(say, *PLAYED, "--without-one", "--ttft", "1s")["without_one"]
    assert (front["pool"], front["replicas_left"], front["score"]) == ("prefill", 0, None)
    assert (back["pool"], back["replicas_left"], back["score"]["ok"]) == ("decode", 2, 60)
    assert document(say, *PLAYED)["without_one"] == []
    (one,) = document(say, "simulate", "llama-3.1-8b", "--on", "2xh100", "--tp", "1", "--without-one")["without_one"]
    assert (one["pool"], one["replicas_left"]) == ("both", 1)
    assert "without one decode replica, on 2: served 60 of 60" in say(*PLAYED, "--without-one").out


def test_an_explanation_of_pools_repeats_their_simulation(say: Say) -> None:
    found = document(say, "explain", *POOLS)
    assert found["served"]["ttft_s"]["value"] == pytest.approx(found["rehearsal"]["ttft_s"]["mean"])
    assert found["served"]["tpot_s"]["value"] == pytest.approx(found["rehearsal"]["tpot_s"]["mean"])
    assert found["rehearsal"]["replicas"] == 4
    assert found["rehearsal"]["without_one_replica"] is None
    assert found["rehearsal"]["saturation"]["holds"] > 12
    more = document(say, "explain", *POOLS[:4], "2xTP1", "--decode", "2xTP1", "--rate", "12/s")
    assert more["rehearsal"]["without_one_replica"]["holds"]


def test_host_memory_brings_forgotten_prefixes_back(say: Say, tmp_path: Any) -> None:
    """Sessions whose context a small cache forgets: with host memory more of their prompts is found."""
    file = tmp_path / "talk.toml"
    file.write_text(
        """[traffic]
        arrivals = { process = "users", users = 12, pause = "2s" }
        sessions = { turns = 6 }
        [[traffic.classes]]
        text = 1500
        answer = 100
        """
    )
    words = ("simulate", "llama-3.1-8b", "--on", "h100", "--memory-fraction", "0.27", "--requests", "120",
             "--workload", str(file))  # fmt: skip
    without, kept = document(say, *words), document(say, *words, "--kv-host-memory", "64GiB")
    assert kept["deployment"]["pools"][0]["settings"]["kv_host_bytes"] == 64 * 2**30
    assert kept["score"]["cached_fraction"] > without["score"]["cached_fraction"] + 0.05
    assert kept["score"]["ttft"]["mean_s"] < without["score"]["ttft"]["mean_s"]


PACE = ("--ttft", "700ms", "--tpot", "17ms")
LONG_PROMPTS = ("llama-3.1-8b", "--gpu", "rtx-4090", "--users", "30", "--input", "4000", "--answer", "300", *PACE,
                "--top", "1")  # fmt: skip
FEW = ("llama-3.1-8b", "--gpu", "h100", "--users", "4", "--top", "1")


def test_two_pools_win_where_long_prompts_meet_a_tight_pace(say: Say) -> None:
    found = document(say, "plan", *LONG_PROMPTS, "--split")
    split, verdict = found["splits"][0], found["split"]
    whole = verdict["one_pool"]
    assert verdict["helps"]
    assert verdict["candidates"] > 0
    saved = whole["cost"]["usd_per_hour"] - split["cost"]["usd_per_hour"]
    assert saved > 0
    assert f"{saved:,.2f} ({saved / whole['cost']['usd_per_hour']:.0%}) less" in verdict["reasons"][0]
    assert "The KV transfer of a 4,000-token prompt takes" in " ".join(verdict["reasons"])
    assert split["service"]["ttft_s"]["value"] <= 0.7
    assert split["service"]["tpot_s"]["value"] <= 0.017
    assert split["rehearsal"]["holds"]
    assert 0 < split["pool_use"]["prefill_busy_fraction"] <= 1
    assert 0 < split["pool_use"]["decode_busy_fraction"] <= 1
    assert split["deployment"]["gpus"] == sum(
        pool["replicas"] * pool["parallelism"]["tp"] for pool in split["deployment"]["pools"]
    )
    assert whole["pool_use"] is None


def test_two_pools_do_not_help_a_small_load_and_say_why(say: Say) -> None:
    found = document(say, "plan", *FEW, "--split")
    assert not found["split"]["helps"]
    assert "takes 7.10 USD/h, 3.55 (100%) more than 1 × h100-sxm-80gb" in found["split"]["reasons"][0]
    assert any("Too few replicas to split" in reason for reason in found["split"]["reasons"])
    assert "SPLIT POOLS: Splitting does not help" in say("plan", *FEW, "--split").out


def test_pools_are_searched_only_where_it_is_asked(say: Say) -> None:
    found = document(say, "plan", *FEW)
    assert (found["splits"], found["split"]) == ([], None)
    refused = say("plan", *FEW, "--kv-network", "ethernet-25")
    assert refused.code == 2
    assert "say --split" in refused.err


def test_a_network_too_slow_for_the_first_token_is_named(say: Say) -> None:
    slow = document(say, "plan", *LONG_PROMPTS, "--split", "--kv-network", "ethernet-1")["split"]
    assert not slow["helps"]
    assert any("s over Ethernet 1 Gb/s" in reason for reason in slow["reasons"]), slow["reasons"]


def test_llama_cpp_hands_no_cache_over(say: Say) -> None:
    found = document(say, "plan", *FEW, "--engine", "llama.cpp", "--split")["split"]
    assert found == {"helps": False, "reasons": [found["reasons"][0]], "candidates": 0, "one_pool": None}
    assert "llama.cpp hands no cache over" in found["reasons"][0]


def test_a_split_plan_is_what_explain_and_simulate_say_of_the_same_pools(say: Say) -> None:
    split = document(say, "plan", *LONG_PROMPTS, "--split")["splits"][0]
    told = say("plan", *LONG_PROMPTS, "--split").out
    words = shlex.split(told[told.index("The best split line by line:") :].replace("\\\n", "").splitlines()[1])
    assert words[:2] == ["sizewell", "explain"]
    explained = document(say, *words[1:])
    assert explained["deployment"] == split["deployment"]
    for name in ("ttft_s", "tpot_s", "e2e_s", "requests_per_s"):
        assert explained["served"][name]["value"] == pytest.approx(split["service"][name]["value"], rel=1e-9)
    assert explained["rehearsal"]["saturation"] == split["rehearsal"]["saturation"]
    played = document(say, "simulate", *words[2:], "--requests", "300")["score"]
    assert played["tpot"]["mean_s"] == pytest.approx(split["service"]["tpot_s"]["value"], rel=0.05)
    assert played["ttft"]["p50_s"] == pytest.approx(split["rehearsal"]["ttft_s"]["p50"], rel=0.1)


def test_a_plans_split_its_load_and_its_limits_are_explained_and_played(say: Say, tmp_path: Path) -> None:
    few = (*POOLS[:-2], "--users", "2", "--input", "1200", "--answer", "9", "--ttft", "2s", "--tpot", "250ms")
    stated = document(say, "simulate", *few, "--requests", "2")
    question = {
        "workload": {"rate_per_s": None, "users": 2.0, "input_tokens": 1200.0, "answer_tokens": 9.0, "growth": 1.0},
        "limits": {"slo": {"ttft_s": 2.0, "tpot_s": None, "statistic": "mean"}, "tokens_per_s_per_user": 4.0},
    }
    plan, workload, trace = tmp_path / "plan.json", tmp_path / "load.yaml", tmp_path / "trace.csv"
    plan.write_text(json.dumps({"plans": [{}], "splits": [{}, stated], "question": question}))
    workload.write_text("rate: 3/s\ninput: 70\n")
    trace.write_text("arrival_s,input_tokens,answer_tokens\n0,50,2\n1,70,2\n")
    found = document(say, "explain", "--split", "2", "--plan", str(plan))
    assert found == document(say, "explain", *few)
    played = document(say, "simulate", str(plan), "--split", "2", "--requests", "20")
    assert played["limits"]["ttft_s"] == 2
    assert played["traffic"]["mean_input_tokens"] == 1200
    for words in (("--workload", str(workload), "--plan", str(plan)), (str(plan), "--workload", str(workload))):
        other = document(say, "simulate", *words, "--split", "2", "--requests", "20")["traffic"]
        assert (other["concurrency"], other["mean_input_tokens"]) == (None, 70)
    assert (
        document(say, "simulate", str(plan), "--split", "2", "--trace", str(trace))["traffic"]["source"] == "sizewell"
    )
    assert "no --split 3" in say("explain", str(plan), "--split", "3").complaint


def test_what_only_two_pools_hold_is_an_answer(say: Say, tmp_path: Any) -> None:
    words = ("plan", "llama-3.3-70b", "--gpu", "h100", "--users", "300", "--input", "4000", "--answer", "300", "--ttft",
             "3s", "--tpot", "25ms", "--no-quantization", "--split")  # fmt: skip
    found = say(*words, "--json")
    assert (found.code, found.document["plans"], found.document["split"]["one_pool"]) == (0, [], None)
    assert "no plan of one pool that was tried holds" in found.document["split"]["reasons"][0]
    (tmp_path / "plan.json").write_text(found.out)
    assert "--split 1 takes its best of two pools" in say("render", tmp_path / "plan.json").err
    assert say("render", tmp_path / "plan.json", "--split", "1", "--target", "slurm").code == 0
    assert "NO PLAN OF ONE POOL HOLDS" in say(*words).out


def test_the_settings_of_both_pools_are_shown(say: Say) -> None:
    shown = say("explain", "llama-3.1-8b", "--on", "8xh100", "--prefill", "2xTP1", "--decode", "1xTP4").out
    assert [line.partition(":")[0] for line in shown.splitlines() if "max_num_seqs" in line] == ["prefill", "decode"]
    one = say("explain", "llama-3.1-8b", "--on", "h100").out
    assert [line.partition(" ")[0] for line in one.splitlines() if "max_num_seqs" in line] == ["max_num_seqs"]
