"""The values some flags take in each release, read from the packages the flags are read from.

Choices are written as lists beside a flag, as `Literal` types of vLLM's settings, or as the names parsers are
registered under; nothing is imported or run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

TOLD = (
    "--kv-cache-dtype", "--quantization", "--reasoning-parser", "--scheduling-policy", "--kv-offloading-backend",
    "--speculative-algorithm", "--disaggregation-transfer-backend", "--load-balance-method",
)  # fmt: skip
"""Flags whose values are read."""
ALIASES = {
    "CacheDType": "--kv-cache-dtype", "QuantizationMethods": "--quantization", "QUANTIZATION_METHODS": "--quantization",
    "SchedulerPolicy": "--scheduling-policy", "KVOffloadingBackend": "--kv-offloading-backend",
    "DetectorMap": "--reasoning-parser", "_REASONING_PARSERS_TO_REGISTER": "--reasoning-parser",
}  # fmt: skip
"""What engines call the values of a flag where they do not stand beside it."""
SOURCES = {
    "vllm": re.compile(
        r"vllm/(config|config/\w+|engine/arg_utils|reasoning/\w+|entrypoints/openai/reasoning_parsers/\w+"
        r"|model_executor/layers/quantization/__init__)\.py"
    ),
    "sglang": re.compile(r"sglang/srt/(server_args|(parser/)?reasoning_parser|arg_groups/(fields/)?\w+)\.py"),
}


def choices(sources: Iterable[str]) -> set[str]:
    """Return `--flag=value` for every value that the sources of one release name."""
    trees = [ast.parse(source) for source in sources]
    lists = {name: set(_texts(value)) for tree in trees for name, value in _assigned(tree)}
    found = {(ALIASES[name], value) for name, values in lists.items() if name in ALIASES for value in values}
    for node in (node for tree in trees for node in ast.walk(tree)):
        found |= {("--reasoning-parser", name) for name in _registered(node)}
        found |= set(_beside(node, lists))
    return {f"{flag}={value}" for flag, value in found}


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and value is not None:
            yield target.id, value


def _texts(value: ast.expr) -> Iterator[str]:
    """Yield the texts of a list or a `Literal`, or the keys of a dictionary."""
    if isinstance(value, ast.Subscript):
        if getattr(value.value, "id", "") == "Literal":
            yield from _texts(value.slice)
        return
    items = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
    for item in items:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


def _registered(node: ast.AST) -> Iterator[str]:
    """Yield the names under which a call registers a parser of thinking."""
    if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") not in (
        "register_module",
        "register_lazy_module",
    ):
        return
    if "reason" not in ast.unparse(node.func).lower():
        return
    named = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
    for value in named:
        yield from _texts(value if isinstance(value, ast.List) else ast.List(elts=[value]))


def _beside(node: ast.AST, lists: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Yield flag and value of choices that stand beside a flag: an argument's, or a field's annotation's."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
        flags = [one.value for one in node.args if isinstance(one, ast.Constant) and one.value in TOLD]
        calls = [node]
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        flags = [flag for flag in TOLD if flag == f"--{node.target.id.replace('_', '-')}"]
        calls = [each for each in ast.walk(node.annotation) if isinstance(each, ast.Call)]
    else:
        return
    for flag in flags:
        for keyword in (keyword for call in calls for keyword in call.keywords if keyword.arg == "choices"):
            named = {each.id for each in ast.walk(keyword.value) if isinstance(each, ast.Name)}
            values = set(_texts(keyword.value)).union(*(lists.get(name, set()) for name in named))
            yield from ((str(flag), value) for value in values)
