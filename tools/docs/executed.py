"""Runs the ```pycon blocks of a document in order, in one namespace, and writes what they print under them."""

from __future__ import annotations

import doctest
import re
from contextlib import redirect_stdout
from io import StringIO

BLOCK = re.compile(r"(^```pycon\n)(.*?)(^```$)", re.DOTALL | re.MULTILINE)


def executed(text: str, name: str) -> str:
    """Return the document with every block's output replaced by what its lines print now.

    Errors inside a block keep their traceback: a document that fails must not be written.
    """
    namespace: dict[str, object] = {"__name__": name}

    def run(found: re.Match[str]) -> str:
        return found[1] + _run(found[2], namespace, name) + found[3]

    return BLOCK.sub(run, text)


def outputs(text: str) -> str:
    """Return all that the blocks of a text print, without their code."""
    examples = [e for found in BLOCK.finditer(text) for e in doctest.DocTestParser().get_examples(found[2])]
    return "\n".join(example.want for example in examples)


def _run(block: str, namespace: dict[str, object], name: str) -> str:
    written = []
    for example in doctest.DocTestParser().get_examples(block):
        lines = example.source.rstrip("\n").split("\n")
        written += [f"{'>>>' if at == 0 else '...'} {line}".rstrip() for at, line in enumerate(lines)]
        printed = _output(example.source, namespace, name)
        written += printed.rstrip("\n").split("\n") if printed else []
    return "".join(f"{line}\n" for line in written)


def _output(source: str, namespace: dict[str, object], name: str) -> str:
    with redirect_stdout(StringIO()) as caught:
        exec(compile(source, name, "single"), namespace)
    return caught.getvalue()
