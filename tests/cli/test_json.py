"""Every --json document obeys its schema, is the same every time, and is nothing but JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell

Say = Callable[..., Any]
SCHEMAS = {path.stem: path for path in (Path(sizewell.__file__).parent / "cli" / "schemas").glob("*.json")}
READINGS = Path(__file__).parents[2] / "docs" / "metrics" / "r1-16xh100-eager.txt"
ROWS = Path(__file__).parent / "memory_rows.csv"
DOCUMENTS = [
    ("catalog", "gpus"),
    ("catalog", "gpus", "h200"),
    ("catalog", "nodes"),
    ("catalog", "networks"),
    ("catalog", "hosts"),
    ("catalog", "storage"),
    ("catalog", "prices"),
    ("catalog", "quality"),
    ("catalog", "models", "r1"),
    ("catalog", "engines"),
    ("catalog", "prices", "h200"),
    ("catalog", "formats"),
    ("catalog", "calibrations"),
    ("explain", "llama-3.1-8b", "--on", "h100"),
    ("explain", "llama-3.1-8b", "--on", "2xh100", "--rate", "1e5", "--ttft", "10ms"),
    ("explain", "r1", "--on", "8xh200", "--dp", "8", "--ep", "8"),
    ("explain", "r1", "--on", "1xh100", "--tp", "1"),
    ("validate", str(ROWS)),
    ("sweep", "llama-3.1-8b", "--on", "h100", "--requests", "10", "--vary", "users=1,4", "--cores", "1"),
    (
        "simulate",
        "llama-3.1-8b",
        "--on",
        "1xh100",
        "--rate",
        "20/s",
        "--requests",
        "20",
        "--answer",
        "5",
        "--tpot",
        "9ms",
    ),
    ("simulate", "llama-3.1-8b", "--on", "1xrtx-3060"),
    (
        "simulate",
        "llama-3.1-8b",
        "--on",
        "3xh100",
        "--prefill",
        "TP1",
        "--decode",
        "2xTP1",
        "--rate",
        "20/s",
        "--requests",
        "20",
        "--answer",
        "5",
        "--kv-network",
        "infiniband-ndr-400",
        "--without-one",
    ),
    ("explain", "llama-3.1-8b", "--on", "4xh100", "--prefill", "TP2", "--decode", "TP2"),
    ("plan", "llama-3.1-8b", "--gpu", "h100", "--gpu", "rtx-4090", "--users", "8", "--tpot", "40ms"),
    ("fit", "llama-3.1-8b", "qwen3-4b", "r1", "--on", "2xrtx-3060"),
    ("plan", "llama-3.1-8b", "--gpu", "rtx-3060", "--rate", "1e4/s", "--max-gpus", "2"),
    ("explain", "qwen3-4b", "--on", "rtx-4090", "--enforce-eager", "--think", "800", "--advise"),
    ("diagnose", str(READINGS)),
    (
        "diagnose",
        str(READINGS),
        "r1",
        "--on",
        "4xh100",
        "--nodes",
        "4",
        "--tp",
        "16",
        "--enforce-eager",
        "--try",
        "TP8xPP2",
    ),
    ("render", "r1", "--on", "8xh200", "--tp", "8"),
    ("render", "r1", "--on", "16xh100", "--tp", "8", "--pp", "2", "--target", "kubernetes"),
]


@pytest.mark.parametrize("words", DOCUMENTS, ids=" ".join)
def test_a_document_obeys_its_schema(say: Say, words: tuple[str, ...]) -> None:
    said = say(*words, "--json")
    assert said.code in (0, 3, 4)
    schema = json.loads(SCHEMAS[words[0]].read_text())
    jsonschema.Draft202012Validator(schema).validate(said.document)
    assert said.document["schema"] == f"sizewell/{words[0]}/1"
    assert "\x1b" not in said.out


SEVERAL = """
import json, sys
from sizewell.cli.main import run
for words in json.loads(sys.argv[1]):
    run([*words, "--json"])
    print("\\0", flush=True)
"""


def test_documents_are_the_same_in_every_process(tmp_path: Path) -> None:
    some = [DOCUMENTS[1], DOCUMENTS[13], DOCUMENTS[17], DOCUMENTS[18], DOCUMENTS[20]]
    outputs = set()
    for seed in ("0", "1"):
        environment = {
            "PYTHONHASHSEED": seed, "FORCE_COLOR": "1", "COLUMNS": "30", "PATH": "/usr/bin:/bin",
            "XDG_CACHE_HOME": str(tmp_path),
        }  # fmt: skip
        command = [sys.executable, "-c", SEVERAL, json.dumps(some)]
        said = subprocess.run(command, capture_output=True, check=False, env=environment).stdout
        outputs.add(tuple(said.decode().split("\0")[:-1]))
    assert len(outputs) == 1
    assert [bool(json.loads(document)) for document in outputs.pop()] == [True] * len(some)


def test_every_schema_is_valid_and_describes_every_field() -> None:
    assert set(SCHEMAS) >= {words[0] for words in DOCUMENTS}
    for path in SCHEMAS.values():
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        for name, field in _fields(schema):
            assert "description" in field or "$ref" in field, f"{path.name}: {name}"


def test_what_several_documents_hold_is_described_once() -> None:
    """The settings of a pool are one thing: a field one document learns, all of them know."""
    schemas = [json.loads(path.read_text()).get("$defs", {}) for path in SCHEMAS.values()]
    for name in ("settings", "pool"):
        said = {json.dumps(defined[name], sort_keys=True) for defined in schemas if name in defined}
        assert len(said) == 1, name


def _fields(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield from (node.get("properties") or {}).items()
        for inner in node.values():
            yield from _fields(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _fields(inner)


TABLES = [words for words in DOCUMENTS if len(words) < 13 and words[0] != "render"]


@pytest.mark.parametrize("words", TABLES, ids=" ".join)
def test_tables_fit_a_hundred_columns(say: Say, words: tuple[str, ...]) -> None:
    said = say(*words)
    assert max(len(line) for line in said.out.splitlines()) <= 100
    assert "\x1b" not in said.out
