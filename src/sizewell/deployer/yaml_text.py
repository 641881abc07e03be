"""YAML by a library, with a comment above each item of a list that carries a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

_REMARK = re.compile(r'^(\s*)- !why (".*")$', re.MULTILINE)


class Why(str):
    """A reason that stands in a list before what it explains, and becomes a comment."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Plain values only; a string is one line, whatever it holds."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value again where it is used twice."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _why(dumper: yaml.SafeDumper, text: Why) -> yaml.Node:
    return dumper.represent_scalar("!why", str(text), style='"')


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Why, _why)


def dump(documents: Sequence[object]) -> str:
    """Return documents as YAML, remarks as comments."""
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return _REMARK.sub(lambda found: f"{found[1]}# {json.loads(found[2])}", text)


def load(text: str) -> list[Any]:
    """Return the documents of a text."""
    return list(yaml.safe_load_all(text))
