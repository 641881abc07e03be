"""What a real vLLM and its transformers have no class for is what we say needs the code of its checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from sizewell.catalog.engines import read_named_engine
from sizewell.catalog.models import list_models, read_model
from sizewell.deployer.remote_code import KNOWN_BEFORE, KNOWN_FROM, OWN_TOKENIZERS, needs_code

sys.path.append(str(Path(__file__).parent))
from vllm_sessions import PYTHON  # beside this file, which no package holds

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed"),
]
KNOWN = """
import json
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from vllm.transformers_utils.config import _CONFIG_REGISTRY
print(json.dumps([*CONFIG_MAPPING_NAMES, *_CONFIG_REGISTRY]))
"""
INSTALLED = "vllm@0.32"
RENAMED = {"minimax_m3", "deepseek_ref"}
"""Configurations of the catalogue that are not as their checkpoints spell them."""


def test_configurations_without_a_class_need_the_code_of_their_checkpoint() -> None:
    done = subprocess.run([PYTHON, "-c", KNOWN], capture_output=True, text=True, check=True)
    known, engine = set(json.loads(done.stdout.splitlines()[-1])), read_named_engine(INSTALLED)
    folder, ruled = files("sizewell.catalog") / "data" / "models", {what for _, what in (*KNOWN_FROM, *KNOWN_BEFORE)}
    for entry in list_models():
        kind, model = json.loads((folder / entry.file).read_text())["model_type"], read_model(entry.id)
        if kind not in known | RENAMED:
            assert needs_code(model, engine), entry.id
        elif model.architecture in ruled and not any(part in model.name.lower() for part in OWN_TOKENIZERS):
            assert not needs_code(model, engine), entry.id
