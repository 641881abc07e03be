"""Matrices of links are read past colours and network cards, and compared with the node that was priced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from doctor_nodes import H100, Board, matrix, meshed, needs, smi
from sizewell.observer.doctor.asking import Answer
from sizewell.observer.doctor.nvidia import parse_nvidia
from sizewell.observer.doctor.topology import Links, judge_links, parse_links
from sizewell.planner.stated import Stated

EIGHT = parse_nvidia(Answer(out=smi([Board()] * 8), code=0))
TWO = parse_nvidia(Answer(out=smi([H100] * 2), code=0))
NVSWITCH = needs()
ONE_EACH = needs("llama-3.1-8b", "8xh200", Stated(tp=1, replicas=8))
PCIE = needs("llama-3.1-8b", "2xrtx-4090", Stated(tp=2, max_model_len_tokens=2048))


@pytest.mark.parametrize("coloured", [False, True])
def test_every_pair_is_read_once(coloured: bool) -> None:
    links = parse_links(matrix(meshed(8, "NV18"), coloured=coloured))
    assert len(links.by_pair) == 28
    assert set(links.by_pair.values()) == {"NV18"}
    assert parse_links("No devices were found\n").by_pair == {}


def test_a_switched_node_is_as_priced() -> None:
    finding = judge_links(parse_links(matrix(meshed(8, "NV18"))), EIGHT, NVSWITCH)
    assert (finding.verdict, finding.found) == ("pass", "28 pairs by NV18")
    assert finding.needed.endswith("as hgx-h200-8 has it")


def test_pcie_where_nvlink_was_priced_fails() -> None:
    ways = meshed(8, "NV18")
    ways[3][5] = ways[5][3] = "SYS"
    finding = judge_links(parse_links(matrix(ways)), EIGHT, NVSWITCH)
    assert (finding.verdict, finding.found) == ("fail", "27 pairs by NV18, 1 pairs by SYS")


def test_a_link_that_is_down_is_seen_by_the_others() -> None:
    ways = meshed(8, "NV18")
    ways[0][1] = ways[1][0] = "NV17"
    assert judge_links(parse_links(matrix(ways)), EIGHT, NVSWITCH).verdict == "warn"


def test_a_pcie_node_is_told_when_its_pairs_cross_sockets() -> None:
    assert judge_links(parse_links(matrix(meshed(2, "PHB"))), TWO, PCIE).verdict == "pass"
    assert judge_links(parse_links(matrix(meshed(2, "SYS"))), TWO, PCIE).verdict == "warn"


def test_replicas_of_one_accelerator_need_no_links() -> None:
    assert judge_links(parse_links(matrix(meshed(8, "SYS"))), EIGHT, ONE_EACH).verdict == "skipped"
    assert judge_links(Links(by_pair={}, trouble="nvidia-smi topo hung"), EIGHT, None).found == "nvidia-smi topo hung"


def test_links_are_those_of_the_accelerators_that_are_taken() -> None:
    ways = [
        [("SYS" if max(a, b) < 4 and a != b else way) for b, way in enumerate(row)]
        for a, row in enumerate(meshed(8, "NV18"))
    ]
    last = replace(EIGHT, gpus=EIGHT.gpus[4:])
    four = needs("llama-3.1-70b", "4xh100", Stated(tp=4))
    assert judge_links(parse_links(matrix(ways)), last, four).verdict == "pass"
    assert judge_links(parse_links(matrix(ways)), EIGHT, four).verdict == "fail"
