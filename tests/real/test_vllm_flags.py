"""A real vLLM knows every flag it would be told, and takes a value where one is given."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tools.engine_flags import SOURCES, Parser, read_source

from launches import deployment, launch
from sizewell.deployer import words
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import EngineSettings

sys.path.append(str(Path(__file__).parent))
from vllm_sessions import PYTHON  # beside this file, which no package holds

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed"),
]
PARSER = """
import json
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
print(json.dumps({flag: action.nargs != 0 for action in parser._actions for flag in action.option_strings}))
"""
INSTALLED = "vllm@0.32"
SETTINGS = EngineSettings(
    max_num_seqs=64, max_num_batched_tokens=8192, max_model_len_tokens=4096, memory_fraction=0.9, enforce_eager=True,
    prefix_caching=False, chunked_prefill=False, speculative_tokens=2, offload_bytes=2.0**30,
)  # fmt: skip


@pytest.fixture(scope="module")
def parser() -> dict[str, bool]:
    """Every flag of the installed vLLM, and whether a value follows it."""
    done = subprocess.run([PYTHON, "-c", PARSER], capture_output=True, text=True, check=True)
    known: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])
    return known


@pytest.mark.parametrize(
    "stated", [Stated(tp=16, ep=16), Stated(tp=8, pp=2), Stated(tp=2, dp=8, ep=16)], ids=["tp", "pp", "dp"]
)
@pytest.mark.parametrize("changed", [False, True])
def test_the_parser_knows_every_flag(parser: dict[str, bool], stated: Stated, changed: bool) -> None:
    asked = launch(
        deployment("r1", "16xh100", INSTALLED, stated), reasoning_parser="deepseek_r1", trust_remote_code=True
    )
    if changed:
        pool = replace(asked.pool, settings=SETTINGS)
        asked = replace(asked, deployment=replace(asked.deployment, kv_format="fp8", pools=(pool,)))
    said = [*words.flags(asked), words.follower(asked)]
    assert {flag.name: flag.takes_value for flag in said if flag} == {
        flag.name: parser.get(flag.name) for flag in said if flag
    }


def test_the_extraction_reads_what_the_parser_knows(parser: dict[str, bool]) -> None:
    (packages,) = PYTHON.parents[1].glob("lib/python3*/site-packages")
    found = Parser()
    for path in (packages / "vllm").rglob("*.py"):
        if SOURCES["vllm"].fullmatch(str(path.relative_to(packages))):
            read_source(ast.parse(path.read_text()), found)
    real = {flag: valued for flag, valued in parser.items() if flag.startswith("--") and flag != "--help"}
    switches = dict.fromkeys(found.switches, False)
    assert {**dict.fromkeys(found.values, True), **switches} == real
