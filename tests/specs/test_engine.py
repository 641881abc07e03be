"""What a release of an engine is called in calibrations."""

from __future__ import annotations

import pytest

from sizewell.specs.engine import engine_tags
from sizewell.specs.engine_loops import serves_inside


@pytest.mark.parametrize(
    ("engine", "version", "generation"),
    [
        ("vllm", "0.7.3", "v0"),
        ("vllm", "0.11.2", "v1"),
        ("vllm", "2024-08-19", "v0"),
        ("vllm", "2025-10", "v1"),
        ("vllm", "2025-12-05", "async"),
        ("trtllm", "2024-08", "c++"),
        ("trtllm", "1.2.0rc2", "pytorch"),
        ("sglang", "2025-11-02", "recorded"),
    ],
)
def test_a_generation_is_known_by_release_or_by_the_month_it_was_new_in(
    engine: str, version: str, generation: str
) -> None:
    assert engine_tags(engine, version) == (f"engine:{engine}", f"engine:{engine}-{generation}")


@pytest.mark.parametrize("version", ["", "unstated", "2025"])
def test_nothing_is_said_of_an_unknown_release(version: str) -> None:
    assert engine_tags("vllm", version) == ("engine:vllm",)


@pytest.mark.parametrize(
    ("engine", "version", "inside"),
    [
        ("vllm", "0.5.4", True), ("vllm", "v0.6.0", False), ("vllm", "2024-08-19", True), ("vllm", "2024-09", False),
        ("vllm", "", False), ("vllm", "0.11.0", False), ("sglang", "0.4.0", False),
    ],
)  # fmt: skip
def test_servers_of_early_releases_are_the_process_that_schedules(engine: str, version: str, inside: bool) -> None:
    assert serves_inside(engine, version) == inside
