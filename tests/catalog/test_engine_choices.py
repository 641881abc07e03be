"""Values of flags are read from what engines write them as, of which each release has a way of its own."""

from __future__ import annotations

import pytest
from tools.engine_choices import choices


@pytest.mark.parametrize(
    "source",
    [
        'parser.add_argument("--kv-cache-dtype", type=str, choices=["a", "b"])',
        'KINDS = ["a", "b"]\nparser.add_argument("--kv-cache-dtype", choices=KINDS)',
        'CacheDType = Literal["a", "b"]',
        'CacheDType: TypeAlias = Literal["a", "b"]',
        'class S:\n    kv_cache_dtype: A[str, Arg(help="x", choices=["a", "b"])] = "a"',
        'KINDS = ["a", "b"]\nclass S:\n    kv_cache_dtype: A[str, Arg(choices=KINDS)] = "a"',
    ],
)
def test_choices_are_read_however_they_are_written(source: str) -> None:
    assert choices([source]) == {"--kv-cache-dtype=a", "--kv-cache-dtype=b"}


@pytest.mark.parametrize(
    "source",
    [
        '@ReasoningParserManager.register_module("a")\nclass A: pass',
        '@ReasoningParserManager.register_module(["a"])\nclass A: pass',
        'ReasoningParserManager.register_module(name="a")(A)',
        '_REASONING_PARSERS_TO_REGISTER = {"a": ("module", "Class")}',
        'class ReasoningParser:\n    DetectorMap: Dict[str, Type] = {"a": Detector}',
    ],
)
def test_parsers_of_thinking_are_read_by_the_names_they_are_registered_under(source: str) -> None:
    assert choices([source]) == {"--reasoning-parser=a"}


def test_other_flags_and_other_registers_are_left_alone() -> None:
    assert choices(['p.add_argument("--device", choices=["a"])', 'ToolParserManager.register_module("a")']) == set()
