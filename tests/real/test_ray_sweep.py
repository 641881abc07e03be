"""The same sweep on a real Ray cluster gives the same rows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.real
WORDS = (
    "sweep", "llama-3.1-8b", "--on", "h100", "--requests", "40", "--answer", "50",
    "--vary", "rate=2/s,8/s", "--vary", "seed=0..2", "--json",
)  # fmt: skip


def test_a_ray_cluster_gives_the_same_rows(ray_cluster: str) -> None:
    def swept(*more: str) -> object:
        words = [sys.executable, "-m", "sizewell", *WORDS, *more]
        return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout)

    assert swept("--ray", ray_cluster) == swept("--cores", "1")
