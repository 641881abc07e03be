"""Every shipped model that transformers knows is built there on the meta device and counted, part by part.

Takes a few minutes and no network; `make test-real` installs what it needs.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sizewell.catalog.models import SHIPPED, list_models, read_model

pytestmark = pytest.mark.real
pytest.importorskip("torch")
pytest.importorskip("transformers")

UNSHIPPED = json.loads((Path(__file__).parents[1] / "golden" / "unshipped_architectures.json").read_text())
FILES = {entry.file: entry.id for entry in list_models()}
TOP_K_FIELDS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "moe_top_k")

# Rows on which the two differ on purpose, with the elements ours has more (see test_models_parameters.py).
LONGCAT_IDENTITY_EXPERTS = -28 * 256 * 4096 * 6144
STEP_VOCABULARY = 2 * (128_896 - 128_815) * 4096
DIFFERENT_ON_PURPOSE = {
    "meituan-longcat--LongCat-Flash-Chat.json": LONGCAT_IDENTITY_EXPERTS,
    "stepfun-ai--Step-3.7-Flash.json": STEP_VOCABULARY,
    "stepfun-ai--Step-3.7-Flash-FP8.json": STEP_VOCABULARY,
}
TEXT_ALONE = frozenset(name for name in DIFFERENT_ON_PURPOSE if name.startswith("stepfun"))
# Families whose layers we split (two blocks in one) or share (one block in several), so positions do not match.
OTHER_LAYERS = ("LongcatFlash", "FalconH1", "Zamba2")


@pytest.fixture(scope="module")
def counting() -> ModuleType:
    """The counting script as a module."""
    place = Path(__file__).with_name("count_parameters_with_transformers.py")
    spec = importlib.util.spec_from_file_location("count_parameters_with_transformers", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def chosen_experts(config: Any) -> int:
    """Return how many experts the built model's configuration lets a token use."""
    text = config.get_text_config()
    for field in TOP_K_FIELDS:
        value = getattr(text, field, None)
        if value:
            return int(value[0] if isinstance(value, list) else value)
    ffn = getattr(text, "ffn_config", None)
    return int(getattr(ffn, "moe_top_k", 0))


def active_parameters(counting: ModuleType, built: Any) -> int:
    """Return the text parameters a token touches, from the shapes of the built expert stacks."""
    active = 0
    for name, parameter in counting.distinct_parameters(built):
        if counting.TOWER.search(name) or counting.OTHER.search(name):
            continue
        if counting.is_routed_expert(name):
            # DBRX flattens its experts into the first axis.
            flat = getattr(built.config, "ffn_config", None)
            experts = flat.moe_num_experts if flat else parameter.shape[0]
            active += parameter.numel() // experts * chosen_experts(built.config)
        else:
            active += parameter.numel()
    return active


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.removesuffix(".json"))
def test_a_built_model_has_exactly_these_parameters(counting: ModuleType, file: str) -> None:
    try:
        built = counting.build(json.loads((SHIPPED / file).read_text()))
    except counting.CannotBuildError as reason:
        pytest.skip(f"transformers: {reason}")
    counts, model = counting.count(built), read_model(FILES[file])
    more = DIFFERENT_ON_PURPOSE.get(file, 0)
    assert model.text_parameters == counts.text + more
    if file not in TEXT_ALONE:
        assert model.vision_parameters == counts.vision
        assert model.parameters == counts.total - counts.other + more
    assert (model.head is None) == (counts.lm_head == 0)
    if more != LONGCAT_IDENTITY_EXPERTS:
        assert model.active_parameters == active_parameters(counting, built) + more
    if not model.architecture.startswith(OTHER_LAYERS):
        assert [layer.parameters for layer in model.layers] == counts.layers


@pytest.mark.parametrize("row", UNSHIPPED, ids=lambda row: row["config"]["architectures"][0])
def test_architectures_without_a_shipped_model_have_these_parameters(counting: ModuleType, row: dict[str, Any]) -> None:
    assert counting.count(counting.build(row["config"])).total == row["parameters"]


# What transformers changes when it saves: a window its class fills in, and one it counts with the token itself.
WINDOW_CHANGED = ("mistralai--Mistral-Small-Instruct-2409.json", "XiaomiMiMo--MiMo-V2-Flash.json")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.removesuffix(".json"))
def test_a_configuration_saved_again_is_the_same_model(counting: ModuleType, file: str, tmp_path: Path) -> None:
    raw = json.loads((SHIPPED / file).read_text())
    try:
        counting.config_object(raw, counting.class_named(raw["architectures"][0])).save_pretrained(tmp_path)
    except counting.CannotBuildError as reason:
        pytest.skip(f"transformers: {reason}")
    released, resaved = read_model(SHIPPED / file), read_model(tmp_path)
    assert (resaved.parameters, resaved.active_parameters) == (released.parameters, released.active_parameters)
    if file not in WINDOW_CHANGED:
        assert resaved.layers == released.layers
