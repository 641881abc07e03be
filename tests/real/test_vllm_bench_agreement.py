"""`sizewell bench` beside `vllm bench serve`: on a server of a steady pace, and on a real vLLM of one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from served_vllm import clocks, make_model, on_core
from served_vllm import serving as serving_vllm
from two_benches import AT_ONCE, REQUESTS, Pairs, alternated, bench, compared

from emulated import emulated, serving, small_fleet
from sizewell.driver.other_tools import read_results
from surfaces import flat_surface

pytestmark = pytest.mark.real
ALIKE = 0.03
TOO_NOISY = 0.15
"""Noise in which three per cent drown: then there is nothing to be told."""
STEP_S = 0.02
ENGINE, REPEATS = 0, 4
SIZE = ("768", "6")
"""Hidden size and layers of a model whose step takes a core 20 to 30 ms: the client's part of a step is small."""


def agree(pairs: Pairs) -> None:
    """Print the comparison and refuse a difference that noise does not explain."""
    found = list(compared(pairs))
    print("", *found, sep="\n")
    if max(one.noise for one in found) > TOO_NOISY:
        pytest.skip(f"this machine is too busy to tell: {'; '.join(map(str, found))}")
    assert all(abs(one.away) <= ALIKE + one.noise for one in found)


def test_they_agree_on_a_server_of_a_steady_pace(tiny_model: Path, tmp_path: Path) -> None:
    """An emulated engine keeps its pace whoever shares the cores; its step takes as long whatever is in it."""
    with serving(emulated(small_fleet(surface=flat_surface(STEP_S, 0.0)))) as served:
        served.wait()
        agree(alternated(f"http://127.0.0.1:{served.port}", tiny_model, tmp_path, 3))


@pytest.fixture(scope="module")
def on_vllm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pairs, Path]]:
    """What both tools measure on an engine with a core of its own, and the folder of the other's results."""
    folder = tmp_path_factory.mktemp("agreement")
    model = make_model(folder / "model", *SIZE)
    with ExitStack() as opened:
        with on_core(ENGINE):
            url = opened.enter_context(serving_vllm(model, folder)).url
        pairs = alternated(url, model, folder, REPEATS)
        assert clocks(url)["prefix_cache_hits_total"] == 0
        yield pairs, folder


def test_they_agree_on_a_real_engine(on_vllm: tuple[Pairs, Path]) -> None:
    agree(on_vllm[0])


def test_a_result_of_vllm_bench_is_scored_as_it_scores_itself(on_vllm: tuple[Pairs, Path]) -> None:
    for turn, (_, theirs) in enumerate(on_vllm[0]):
        path = on_vllm[1] / f"{turn}.json"
        (load,) = read_results(path)
        assert (load.tool, load.label) == ("vllm bench", str(AT_ONCE))
        code, found, talk = bench("--import", str(path))
        assert code == 0, talk
        score = found["points"][0]["score"]
        assert score["ok"] == REQUESTS
        assert score["ttft"]["mean_s"] == pytest.approx(theirs["TTFT"], rel=1e-6)
        assert score["tpot"]["mean_s"] == pytest.approx(theirs["TPOT"], rel=1e-6)
        assert score["wall"]["output_tokens_per_s"] == pytest.approx(theirs["tok/s"], rel=0.01)
