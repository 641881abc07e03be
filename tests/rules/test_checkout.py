"""What lies in a clone lies there on every machine: no link that leaves it, no file that git is told to ignore."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK_MODE = "120000"


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no checkout of git: {done.stderr.strip()}")
    return done.stdout.splitlines()


def test_no_tracked_link_leaves_the_checkout() -> None:
    links = [line.split("\t")[1] for line in _git("ls-files", "--stage") if line.startswith(LINK_MODE)]
    assert not [name for name in links if (ROOT / name).readlink().is_absolute()]


def test_environments_are_ignored_as_folders_and_as_links() -> None:
    names = [".venv", ".venv-real", ".venv-vllm", ".venv-sglang"]
    assert _git("check-ignore", "--no-index", *names) == names
    assert not _git("ls-files", *names)
