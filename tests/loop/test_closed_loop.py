"""The loop in real time: a server with a calibration nobody told us is benched, learnt, and then predicted better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Said, say  # noqa: F401  # a fixture
from emulated import Served, serving
from sizewell.cli import emulate
from sizewell.cli.main import sizewell

HIDDEN = {"relative_hbm": 0.5, "host_step_s": 3.0}
MODEL, MACHINE = "llama-3.1-8b", "l4-24gb"
LOAD = ("--input", "64", "--answer", "4", "--requests", "12", "--warmup", "1")
"""Steps of a tenth of a second, which a busy machine does not disturb; exact runs show what short ones tell."""


@pytest.fixture
def catalogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return what chooses between the catalogue of the servers and the user's own."""
    folder = tmp_path / "hidden" / "calibrations"
    folder.mkdir(parents=True)
    lines = [
        f'[scales."gpu:{MACHINE}+engine:vllm".{name}]\nvalue = {value}\nspread = 0.1\nsource = "hidden"\n'
        for name, value in HIDDEN.items()
    ]
    (folder / "hidden.toml").write_text("\n".join(['name = "hidden"\n', *lines]))
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path / "home"))
    yield lambda name: monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / name))


@contextmanager
def server() -> Iterator[Served]:
    context = sizewell.make_context("sizewell", ["-q", "emulate"], resilient_parsing=True)
    words = [MODEL, "--on", MACHINE]
    given = emulate.command.make_context("emulate", words, parent=context).params
    with serving(emulate.emulation_of(given)[0]) as served:
        yield served.wait()


def bench(say: Any, served: Served, *words: str) -> list[dict[str, Any]]:  # noqa: F811
    url = f"http://{served.host}:{served.port}"
    said: Said = say("-q", "bench", MODEL, "--on", MACHINE, "--url", url, *LOAD, *words, "--json")
    assert said.code == 0, said.err
    points: list[dict[str, Any]] = said.document["points"]
    return points


def error(points: list[dict[str, Any]]) -> float:
    """Return the mean size of ln(predicted / measured) of the paces."""
    pairs = [(point["predicted"]["tpot"]["p50_s"], point["score"]["tpot"]["p50_s"]) for point in points]
    return sum(abs(math.log(predicted / measured)) for predicted, measured in pairs) / len(pairs)


def test_a_hidden_machine_is_learnt_and_the_next_prediction_is_better(
    say: Any, catalogues: Callable[[str], None]  # noqa: F811
) -> None:  # fmt: skip
    catalogues("hidden")
    with server() as served:
        catalogues("own")
        before = bench(say, served, "--concurrency", "3,4,6", "--keep", "first")
        said = say("calibrate", "--from-runs", "--save", "mine", "--json")
        assert said.code == 0, said.err
        learnt = said.document
        after = bench(say, served, "--concurrency", "5")
        bench(say, served, "--concurrency", "4", "--shared-prefix", "48", "--keep", "shared")
        refused = say("calibrate", "--from-runs", str(say("runs", "list", "--json").document["runs"][-1]["id"]))
    assert refused.code == 2 and "a prefix cache knew its prompts" in refused.err
    assert error(before) > 0.5
    assert error(after) < 0.4 * error(before)
    assert learnt["after_fraction"] < 0.5 * learnt["before_fraction"]
    (memory,) = (item for item in learnt["factors"] if item["factor"] == "relative_hbm")
    assert memory["determined"]
    assert abs(math.log(memory["scale"] / HIDDEN["relative_hbm"])) < 2 * math.log1p(memory["spread_fraction"]), memory
    listed = say("runs", "list", "--json").document["runs"]
    measured = [run for run in listed if run["origin"] == "measured" and not run["name"].startswith("shared")]
    assert learnt["runs"] == [run["id"] for run in measured] and all(run["predicted"] for run in measured)
    kept = say("runs", "list", "--of", "calibrations", "--json").document["calibrations"]
    assert [one["name"] for one in kept] == ["mine"]
