"""docs/accuracy.md: how far predictions lie from published measurements, from the figures the bench wrote down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "accuracy.json"
KINDS = {"speed": "TPOT / ITL", "first": "TTFT", "prompt": "prefill speed", "rate": "throughput", "run": "E2E"}
SLICES = ("data set", "accelerator", "model family", "engine", "load")
BARS = {"speed": "10 % / 18 % mean", "first": "20 %", "prompt": "", "rate": "10 %", "run": "10 %"}
"""What is aimed at: median, and for token times the mean."""
LEFT_OUT = ("", " by data set", " by model", " by engine", " by accelerator")
FAR = 0.35
"""Median error of a group above which a reason must stand beside it."""
WORST_OF_A_SLICE = 12

HEAD = """# How far predictions lie from measurements

Written by `make docs` from `bench/results/accuracy.json`, which these commands write (one to ten minutes each):

    python bench/accuracy.py --write       # errors and intervals, one group left out at a time
    python bench/accuracy.py --write --without "data set"   # or accelerator, model, engine: all rows of one at once
    python bench/decisions.py --write      # which layout would have been chosen, and what that would have cost
    python bench/replay.py --write         # a measured trace, request by request

Every figure is predicted by a calibration that never saw its *group* (accelerator × model × engine), intervals
included. Data sets weigh the same: medians and means are taken in each and averaged. Errors are |predicted −
measured| / measured. Loads that a table states well enough are simulated (`planner/point_requests.py` lists the
conventions where it leaves something open), the others answered in closed form. Measured points are published by
others; reruns of one configuration differ by a median of 9 %, engine versions by 12 %.
"""

PEERS = (
    (
        "aiconfigurator 0.12, as scored on its own regression set",
        "17 %",
        "29 %",
        "50 %",
        "half of the points unanswered",
    ),
)


def render() -> str:
    """Return the page."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = kept["left out"]
    parts = [
        HEAD,
        _summary(rows),
        _left_out(kept),
        _decisions(kept.get("decisions", {})),
        _replay(kept.get("replay", {})),
    ]
    parts += [_slice(rows, by) for by in SLICES]
    parts.append(_far(rows))
    return "\n".join(parts)


def _summary(rows: Iterable[Mapping[str, Any]]) -> str:
    everything = {row["kind"]: row for row in rows if row["by"] == "all"}
    lines = ["## All data sets", "", "Pooled: the median of all errors, every data set weighing the same.", ""]
    lines += [
        "| | figures | median | mean | bias | inside 80 % | pooled | aimed at |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, name in KINDS.items():
        row = everything[kind]
        lines.append(f"{_row(name, row)} {_percent(row['pooled'])} | {BARS[kind]} |")
        if kind == "speed":
            simple = f"{_percent(row['simple_median'])} | {_percent(row['simple_mean'])}"
            pooled = _percent(row["simple_pooled"])
            lines.append(f"| — four-constant roofline, same rows | {row['n']:,} | {simple} | | | {pooled} | |")
    lines += ["", "| published peer | TPOT median | TPOT mean | TTFT median | |", "|---|--:|--:|--:|---|"]
    lines += [f"| {' | '.join(peer)} |" for peer in PEERS]
    return "\n".join([*lines, ""])


def _left_out(kept: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """Return what becomes of the errors where more than a group is left out."""
    lines = [
        "## Rows of strangers", "",
        "Medians where no fit has seen any row of the same publisher, model, engine or accelerator: what to expect",
        "where nobody measured. Formulas are not left out: whoever wrote them had seen the rows.", "",
        f"| left out | {' | '.join(KINDS.values())} |", f"|---|{'--:|' * len(KINDS)}",
    ]  # fmt: skip
    for part in LEFT_OUT:
        found = {row["kind"]: row for row in kept["left out" + part] if row["by"] == "all"}
        errors = [f"{_percent(found[kind]['median'])} ({found[kind]['covered']:.0%})" for kind in KINDS]
        lines.append(f"| {part.removeprefix(' by ') or 'group'} | {' | '.join(errors)} |")
    return "\n".join([*lines, "", "In brackets: inside the interval that says 80 %.", ""])


def _decisions(kept: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        "## Decisions", "",
        "Wherever several layouts of one question were measured: the predicted-best layout under a limit on TPOT.", "",
        "| | decisions | breaks the measured limit by more than 5 % | throughput it costs otherwise | none chosen |",
        "|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for name, one in kept.items():
        lines.append(f"| {name} | {one['decisions']:,} | {one['broken']:.1%} | {one['regret']:.1%} | {one['none']} |")
    lines.append("| best peer, as published | | 14 % | 7.5 % | |")
    return "\n".join([*lines, ""])


def _replay(kept: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        "## A real trace, replayed", "",
        "300 requests of vLLM 0.19, Llama-3.1-8B bf16 on one RTX PRO 6000, which no calibration saw.", "",
        "| | measured mean | error of the mean | bar |", "|---|--:|--:|--:|",
    ]  # fmt: skip
    for name, one in kept.items():
        lines.append(f"| {name} | {one['measured_s']:.4g} s | {one['error']:+.1%} | {one['bar']:.0%} |")
    return "\n".join([*lines, ""])


def _slice(rows: Iterable[Mapping[str, Any]], by: str) -> str:
    some = sorted((row for row in rows if row["by"] == by), key=lambda row: -row["median"])
    lines = [f"## By {by}, worst first", ""]
    for kind, name in KINDS.items():
        mine = [row for row in some if row["kind"] == kind]
        if not mine:
            continue
        lines += [f"| {name} | figures | median | mean | bias | inside 80 % |", "|---|--:|--:|--:|--:|--:|"]
        lines += [_row(row["label"], row) for row in mine]
        lines.append("")
    return "\n".join(lines)


def _far(rows: Iterable[Mapping[str, Any]]) -> str:
    far = sorted((r for r in rows if r["by"] == "group" and r["median"] > FAR), key=lambda row: -row["median"])
    lines = [f"## Groups with a median above {FAR:.0%}, and why", ""]
    lines += ["| | | figures | median | bias | why |", "|---|---|--:|--:|--:|---|"]
    for row in far:
        errors = f"{_percent(row['median'])} | {row['bias']:+.0%}"
        lines.append(f"| {row['label']} | {KINDS[row['kind']]} | {row['n']} | {errors} | {reason(row)} |")
    return "\n".join([*lines, ""])


def _row(label: str, row: Mapping[str, Any]) -> str:
    errors = f"{_percent(row['median'])} | {_percent(row['mean'])} | {row['bias']:+.0%}"
    return f"| {label} | {row['n']:,} | {errors} | {row['covered']:.0%} |"


def _percent(value: float) -> str:
    return f"{value:.1%}" if value < 10 else f"{value:,.0%}"


REASONS = (
    (("glm-4.5-air", "h100"), "the source prints the figures of its A100 runs again for four of five H100 runs"),
    (
        ("deepseek-r1 · llama.cpp",),
        "each of 256 experts in launches of its own, a host that waits in every layer, weights of 1.58 bits; one row "
        "of trust C",
    ),
    (
        ("8b-instruct-fp8",),
        "prompts cost less than their arithmetic at the stated concurrency: most likely repeated prompts found in the "
        "prefix cache",
    ),
    (("transformers",), "a loop in Python without serving engine: the launches of small kernels bind; one row"),
    (("a10g-24gb",), "one row of trust C: 1,000 prompts at once over PCIe, of which only mean lengths are stated"),
    (
        ("h100-sxm", "qwen3-"),
        "in this source prompts and batches take an H100 twice as long as in all others, under every engine, while "
        "single streams are as fast: most likely a card whose power is capped",
    ),
    (("h100-sxm", "gpt-oss-20b"), "the same source and card: arithmetic at half the rate of everybody else's H100"),
    (("h100-sxm", "glm-4.5-air-fp8"), "the same source and card: arithmetic at half the rate of everybody else's H100"),
    (("a100", "gpt-oss-120b"), "no MXFP4 kernel for Ampere in that release: weights are widened in every step"),
    (
        ("h100-sxm", "gpt-oss-120b", "trtllm"),
        "the table states neither the cut of its four cards nor how many requests were queued: the best cut is assumed",
    ),
    (
        ("a100", "qwen3-32b · sglang"),
        "weights fill four fifths of one card: how many sequences fit hangs on a share of memory that is not stated",
    ),
    (("a100", "qwen3-235b"), "expert kernels of that release without a tuned table for this card, in 8 bits emulated"),
    (("a100", "glm-4.5-air"), "expert kernels of that release without a tuned table for this card"),
    (
        ("h200", "deepseek-v3.2"),
        "releases of the weeks after the model came out: sparse attention is scored and chosen by many small kernels",
    ),
    (("ik-llama.cpp",), "one token passes sixteen cards, each of which waits for its host; rows of trust C"),
    (
        ("· llama.cpp",),
        "rates of its kernels differ between cards of one chip by power limits, and four of one kind were slower at 16 "
        "bits than one; single streams are within 6 %",
    ),
    (("70b-chat",), "MLPerf states neither layout nor prompt lengths, and raises the load to where waiting explodes"),
    (("mixtral-8x7b-instruct",), "MLPerf states neither layout nor prompt lengths, and raises the load to the limit"),
)


def reason(row: Mapping[str, Any]) -> str:
    """Return the physical reason why a group is far off: what is known, or what most likely is behind it."""
    label, kind = row["label"].lower(), row["kind"]
    for words, why in REASONS:
        if all(word in label for word in words):
            return why
    if "deepseek-r1-0528" in label and kind in {"rate", "speed"}:
        return "a thousand requests at once on a server that streams every token: most likely its front end or client"
    if kind == "first" and "deepseek" in label:
        return "most likely waiting at admission: receive intervals and batching delays that the table does not state"
    if kind == "first":
        return "most likely time outside the engine (client, tokenizer, HTTP), or how long waves stay together"
    return "most likely settings the table does not state: a burst on one server, with preemptions"
