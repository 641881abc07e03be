"""Damaged, absurd and malicious configurations end in one clear line, quickly."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizewell.catalog.architectures.assembly import build_model
from sizewell.catalog.config_fields import Fields
from sizewell.catalog.config_file import LARGEST_FILE_BYTES, parse_json
from sizewell.catalog.models import SHIPPED, read_model
from sizewell.specs.errors import BadInputError, SizewellError

# One of each structure: dense, latent with experts, hybrid, wrapper, pruned, compressed, quantized by list.
VICTIMS = [
    "Qwen--Qwen2.5-7B", "deepseek-ai--DeepSeek-R1", "Qwen--Qwen3.5-27B", "google--gemma-3-4b-it",
    "nvidia--Llama-3_3-Nemotron-Super-49B-v1", "deepseek-ai--DeepSeek-V4-Flash", "openai--gpt-oss-20b",
    "nvidia--Qwen3.6-35B-A3B-NVFP4", "moonshotai--Kimi-K2.5", "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",
    "meta-llama--Llama-3.2-11B-Vision-Instruct", "MiniMaxAI--MiniMax-M3", "XiaomiMiMo--MiMo-V2-Flash",
    "Zyphra--Zamba2-2.7B", "LiquidAI--LFM2-1.2B", "google--gemma-4-26B-A4B", "Qwen--Qwen3-Omni-30B-A3B-Instruct",
    "google--gemma-3n-E2B-it", "google--gemma-4-E2B-it", "OpenGVLab--InternVL3-8B", "zai-org--GLM-4.5V",
    "MiniMaxAI--MiniMax-M1-40k", "Snowflake--snowflake-arctic-instruct",
]  # fmt: skip
CONFIGS = {name: json.loads((SHIPPED / f"{name}.json").read_text()) for name in VICTIMS}
NASTY = [
    -1, 0, 10**30, 1.5, float("nan"), float("inf"), 1e308, "x", [], [0], ["a"], {}, True, "9" * 5000,
    [10**30] * 5, "M" * 5000,
]  # fmt: skip
LONGEST_S = 1.0


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a configuration, long lists by their first entries."""
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [p for key, child in value.items() for p in places(child, (*path, key))]
    elif isinstance(value, list):
        inner = [p for index, child in enumerate(value[:2]) for p in places(child, (*path, index))]
    return [path, *inner] if path else inner


def changed(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = deepcopy(config)
    target: Any = copy
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return copy


def attempt(values: dict[str, Any]) -> None:
    """Build a model; anything but a model or a one-line SizewellError within a second is a failure."""
    start = time.perf_counter()
    try:
        model = build_model("victim", Fields(values, "victim.json"))
        assert model.parameters >= 0
        assert model.active_parameters >= 0
    except SizewellError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
    assert time.perf_counter() - start < LONGEST_S


@pytest.mark.parametrize("name", VICTIMS)
def test_every_field_with_every_nasty_value(name: str) -> None:
    config = CONFIGS[name]
    for path in places(config)[:90]:
        for value in NASTY:
            attempt(changed(config, path, value))


@pytest.mark.parametrize("name", VICTIMS)
def test_every_field_left_out(name: str) -> None:
    for path in places(CONFIGS[name])[:90]:
        attempt(changed(CONFIGS[name], path, None))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_values_in_random_fields(data: st.DataObject) -> None:
    config = CONFIGS[data.draw(st.sampled_from(VICTIMS))]
    path = data.draw(st.sampled_from(places(config)))
    attempt(changed(config, path, data.draw(json_values)))


@given(st.binary(max_size=300))
def test_random_bytes_are_no_configuration(raw: bytes) -> None:
    try:
        attempt(parse_json(raw, "victim.json"))
    except BadInputError as error:
        assert "victim.json" in str(error)


@given(st.integers(0, 2000))
@settings(max_examples=60, deadline=None)
def test_a_truncated_file(kept: int) -> None:
    raw = json.dumps(CONFIGS["deepseek-ai--DeepSeek-R1"]).encode()[:kept]
    try:
        attempt(parse_json(raw, "victim.json"))
    except BadInputError as error:
        assert "not valid JSON" in str(error)


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b"[]", b"3", b'"x"', b"null"])
def test_bombs_and_other_values_are_refused(bomb: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(BadInputError):
        parse_json(bomb, "victim.json")
    assert time.perf_counter() - start < LONGEST_S


def test_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with file.open("wb") as stream:
        stream.truncate(2**30)
    start = time.perf_counter()
    with pytest.raises(BadInputError, match=str(LARGEST_FILE_BYTES)):
        read_model(str(tmp_path))
    assert time.perf_counter() - start < LONGEST_S


def test_a_device_is_not_a_configuration() -> None:
    with pytest.raises(BadInputError, match="not a file"):
        read_model("/dev/zero")


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(BadInputError, match=r"no config\.json"):
        read_model(str(tmp_path))


def test_an_expression_that_takes_forever_is_refused() -> None:
    config = deepcopy(CONFIGS["moonshotai--Kimi-K2.5"])
    config["text_config"]["quantization_config"] = {
        "quant_method": "compressed-tensors", "ignore": ["re:(a+)+$"],
        "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}},
    }  # fmt: skip
    config.pop("quantization_config", None)
    with pytest.raises(BadInputError, match="nests repetitions"):
        build_model("victim", Fields(config, "victim.json"))
