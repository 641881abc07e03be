"""Writes docs/exercise.md: the sizing exercise of the source documents, answered for every R1 distill."""

from __future__ import annotations


def render() -> str:
    """Return the whole document as Markdown."""
    return "# The exercise\n"
