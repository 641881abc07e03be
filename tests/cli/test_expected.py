"""What an engine states at start is held against the ledger of its own pool."""

from __future__ import annotations

from dataclasses import replace

from launches import STARTED, deployment, split
from sizewell.cli.documents import deployment_object
from sizewell.cli.expected import Expected
from sizewell.cli.output import json_ready
from sizewell.costs.ledger import ledger
from sizewell.deployer.started import Started
from sizewell.specs.standing import LogFacts

BUILT = deployment("llama-3.1-8b", "8xh100", "vllm@0.33", split("2xTP1", "1xTP4"))


def started(replicas: int) -> Started:
    """Return two pools of which so many things are watched."""
    kept = json_ready(deployment_object(BUILT))
    return replace(STARTED, deployment=kept, source="llama-3.1-8b", assumed=(), replicas=replicas)


def test_each_engine_is_held_against_its_own_pool() -> None:
    expected = Expected(started(4))
    decode = LogFacts(kv_cache_tokens=ledger(BUILT, 1).kv_tokens)
    differ = [[line.differs for line in expected.lines(decode, number)] for number in range(4)]
    assert differ == [[True], [True], [False], []], "two that prefill, one that decodes, the router"


def test_one_log_of_several_pools_is_held_against_nothing() -> None:
    assert Expected(started(1)).lines(LogFacts(kv_cache_tokens=1), 0) == ()
