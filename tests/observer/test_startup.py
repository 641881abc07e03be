"""An engine's start-up figures beside the plan's ledger: equal where they should be, explained where not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emulated import emulated
from observer.engine_logs import read_engine_log
from sizewell.catalog.engines import read_engine
from sizewell.costs.ledger import GIB, MemoryLedger
from sizewell.emulator.deployment import Failures
from sizewell.emulator.startup import load_lines, ready_line
from sizewell.observer.startup import StartupLine, against_ledger
from sizewell.specs.engine import EngineSpec
from sizewell.specs.standing import LogFacts

ENGINE = read_engine("vllm", "0.33.0")


@pytest.fixture(scope="module")
def ledger() -> MemoryLedger:
    return emulated(words=("--engine", "vllm@0.33.0")).memory


def as_planned(ledger: MemoryLedger) -> LogFacts:
    """Return the log of an engine that starts exactly as planned."""
    graphs = sum(line.bytes for line in ledger.lines if line.name.startswith("graphs"))
    return LogFacts(
        stage="serving", engine="vllm", weights_bytes=ledger.weight_bytes, kv_cache_bytes=ledger.kv_bytes,
        kv_cache_tokens=ledger.kv_tokens, graphs_bytes=graphs,
        max_concurrency=ledger.concurrency(ledger.settings.max_model_len_tokens),
    )  # fmt: skip


def told(log: LogFacts, ledger: MemoryLedger, engine: EngineSpec = ENGINE) -> dict[str, StartupLine]:
    return {line.name: line for line in against_ledger(log, ledger, engine)}


@pytest.mark.parametrize("engine", ["vllm@0.8.5", "vllm@0.11.0", "vllm@0.20.2", "vllm@0.33.0", "sglang@0.5.23"])
def test_what_the_emulated_engine_logs_is_its_plan(engine: str) -> None:
    found = emulated(words=("--engine", engine), failures=Failures(load_s=30.0))
    lines = [line for _, line in load_lines(found)] + [ready_line(found, "http://127.0.0.1:8000")]
    log = read_engine_log(lines)
    compared = told(log, found.memory, read_engine(*engine.split("@")))

    assert log.stage == "serving"
    assert log.engine == engine.split("@", maxsplit=1)[0]
    assert {"KV cache", "KV tokens"} <= set(compared)
    assert [line.text for name, line in compared.items() if line.differs and name != "weights"] == []
    # SGLang prints how much free memory went down, which the emulator does not imitate.
    assert engine.startswith("sglang") or not compared["weights"].differs


def test_an_engine_that_starts_as_planned_has_nothing_to_explain(ledger: MemoryLedger) -> None:
    compared = told(as_planned(ledger), ledger)

    assert set(compared) == {"weights", "KV cache", "KV tokens", "concurrency", "graphs"}
    assert not any(line.differs or line.reason for line in compared.values())


def test_a_line_reads_as_a_sentence() -> None:
    line = StartupLine(name="KV tokens", unit="tokens", said=412_000, planned=430_112, low=425_000, high=435_000)

    assert line.text == "KV tokens 412,000, planned 430,112 (−4.2 %)"
    assert line.differs
    assert not replace(line, said=426_000).differs, "within the plan's interval"
    assert not replace(line, said=430_900, low=430_112, high=430_112).differs, "within a hundredth"


def test_silent_logs_are_compared_in_nothing(ledger: MemoryLedger) -> None:
    assert against_ledger(LogFacts(), ledger, ENGINE) == ()


def test_twice_the_weights_are_another_format_and_cost_the_cache(ledger: MemoryLedger) -> None:
    log = as_planned(ledger)
    heavier = 2 * ledger.weight_bytes
    left = ledger.kv_bytes - ledger.weight_bytes
    tokens = int(ledger.kv_tokens * left / ledger.kv_bytes)
    compared = told(
        replace(log, weights_bytes=heavier, kv_cache_bytes=left, kv_cache_tokens=tokens, max_concurrency=None), ledger
    )

    assert compared["weights"].reason.startswith("2 times as much: a wider format")
    assert "what the weights take" in compared["KV cache"].reason
    assert compared["KV tokens"].reason == "follows from the room for the cache"
    assert f"weights {heavier / GIB:.2f} GiB" in compared["weights"].text
    assert "(+100.0 %)" in compared["weights"].text


def test_a_cache_in_another_format_shows_in_the_bytes_of_a_token(ledger: MemoryLedger) -> None:
    compared = told(replace(as_planned(ledger), kv_cache_tokens=ledger.kv_tokens * 2, max_concurrency=None), ledger)

    assert "half the planned bytes: another KV format" in compared["KV tokens"].reason


def test_less_room_with_the_planned_weights_is_memory_others_hold(ledger: MemoryLedger) -> None:
    compared = told(replace(as_planned(ledger), kv_cache_bytes=ledger.kv_bytes - 8 * GIB), ledger)

    assert "another process on the GPU" in compared["KV cache"].reason


def test_another_longest_sequence_is_named(ledger: MemoryLedger) -> None:
    log = as_planned(ledger)
    compared = told(replace(log, max_concurrency=(log.max_concurrency or 0) * 2), ledger)
    planned = ledger.settings.max_model_len_tokens

    assert (
        compared["concurrency"].reason
        == f"counted at about {planned / 2:,.0f} tokens a request, planned at {planned:,}"
    )


def test_room_set_aside_for_states_explains_fewer_tokens(ledger: MemoryLedger) -> None:
    said = replace(as_planned(ledger), state_bytes=ledger.kv_bytes * 0.45, kv_cache_tokens=ledger.kv_tokens // 2)
    line = told(said, ledger)["KV tokens"]
    assert line.differs and "45 % of the room is set aside for recurrent states" in line.reason
