"""How accelerators are joined: `nvidia-smi topo -m` read, and judged against the node that was priced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sizewell.observer.doctor.asking import PATIENCE_S, ask
from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.gpu_facts import GpuFacts
from sizewell.observer.doctor.needs import Needs

Pair = tuple[int, int]
_topology = partial(Finding, subject="topology", check="links")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
FULLY_JOINED = ("nvswitch", "all-to-all")
PARTLY_JOINED = ("ring", "pairs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The word nvidia-smi has for the way between two accelerators (NV18, PIX, SYS, …), smaller index first."""

    by_pair: Mapping[Pair, str]
    trouble: str = ""


def read_links(timeout_s: float = PATIENCE_S) -> Links:
    """Ask nvidia-smi."""
    answer = ask(["nvidia-smi", "topo", "-m"], timeout_s)
    if answer.problem or answer.code:
        return Links(by_pair={}, trouble=f"nvidia-smi topo {answer.problem or answer.complaint}")
    return parse_links(answer.out)


def parse_links(text: str) -> Links:
    """Return the matrix without network cards and affinities; a text without one holds no pairs."""
    rows = [line.split() for line in _COLOURS.sub("", text).splitlines()]
    head = next((row for row in rows if row and row[0] == "GPU0" and row[1:2] != ["X"]), [])
    columns = [int(name[3:]) for name in head if re.fullmatch(r"GPU\d+", name)]
    found: dict[Pair, str] = {}
    for row in rows:
        if row is head or not row or not re.fullmatch(r"GPU\d+", row[0]):
            continue
        here = int(row[0][3:])
        found |= {(here, there): way for there, way in zip(columns, row[1:], strict=False) if here < there}
    return Links(by_pair=found)


def judge_links(links: Links, facts: GpuFacts, needs: Needs | None) -> Finding:
    """Return whether the accelerators of one replica are joined as the plan's node joins them."""
    together = needs.together if needs else len(facts.gpus)
    if len(facts.gpus) < 2 or together < 2:
        why = "one accelerator: nothing to join" if facts.gpus else "no accelerators to join"
        return _topology(verdict="skipped", found=why)
    if not links.by_pair:
        return _topology(verdict="skipped", found=links.trouble or "no matrix of links was printed")
    of_one = {gpu.index for gpu in facts.gpus[:together]}
    pairs = {pair: way for pair, way in links.by_pair.items() if of_one.issuperset(pair)}
    joined = {pair: way for pair, way in pairs.items() if way.startswith("NV")}
    found, needed = _told(pairs), _needed(needs)
    wanted = needs.cluster.node.topology if needs else "none"
    if (wanted in FULLY_JOINED and len(joined) < len(pairs)) or (wanted in PARTLY_JOINED and not joined):
        fix = "look at nvidia-smi nvlink -s and the fabric manager, or plan for PCIe (--node)"
        return _topology(verdict="fail", found=found, needed=needed, fix=fix)
    if len(set(joined.values())) > 1 and wanted in FULLY_JOINED:
        fix = "look for links that are down: nvidia-smi nvlink -s"
        return _topology(verdict="warn", found=found, needed=needed, fix=fix)
    if "SYS" in pairs.values():
        fix = "let a replica use accelerators of one socket (CUDA_VISIBLE_DEVICES), or expect slower reductions"
        return _topology(verdict="warn", found=f"{found}; pairs meet across sockets", needed=needed, fix=fix)
    return _topology(verdict="pass", found=found, needed=needed)


def _told(pairs: Mapping[Pair, str]) -> str:
    ways = sorted(set(pairs.values()), key=lambda way: (not way.startswith("NV"), way))
    return ", ".join(f"{list(pairs.values()).count(way)} pairs by {way}" for way in ways)


def _needed(needs: Needs | None) -> str:
    if needs is None:
        return ""
    node = needs.cluster.node
    return f"{node.scale_up.name}, {node.topology}, as {node.key} has it"
