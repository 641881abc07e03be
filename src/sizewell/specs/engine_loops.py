"""How releases run the loop around a step: what happens beside it, inside it, or by turns."""

from __future__ import annotations

import re

OVERLAPPED = frozenset({
    "engine:vllm-async", "engine:sglang-overlapped", "engine:sglang-recorded", "engine:trtllm-pytorch",
})  # fmt: skip
"""Generations that prepare the next step and read the results of the last one while a step runs."""

PROMPTS_FIRST = frozenset({"engine:sglang", "engine:vllm-v0"})
"""Engines and generations that compute waiting prompts in steps of their own before they decode on."""

FRONT_APART, FRONT_APART_MONTH = (0, 6), "2024-09"
"""First release of vLLM whose server is a process of its own, and its month."""


def serves_inside(engine: str, version: str) -> bool:
    """Return whether an engine of some release, or month, sends tokens in the process that schedules."""
    named = re.match(r"v?(\d+)\.(\d+)", version)
    if engine != "vllm" or not version:
        return False
    return (int(named[1]), int(named[2])) < FRONT_APART if named else version[:7] < FRONT_APART_MONTH
