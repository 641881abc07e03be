"""Exact sizes from safetensors headers and indices."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.models import read_model
from sizewell.catalog.safetensors import (
    StoredTensor,
    class_of,
    parse_header,
    parse_index,
    read_header,
    read_sizes,
    weights_in,
)
from sizewell.costs.weights import Weights
from sizewell.specs.deployment import Parallelism
from sizewell.specs.errors import BadInputError

SMALL = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 1000,
}  # fmt: skip


def write(file: Path, entries: dict[str, tuple[str, list[int], int]], cut: int = 0) -> None:
    """Write a file of (type, shape, bytes) entries; the weights are zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (kind, shape, size) in entries.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    file.write_bytes((struct.pack("<Q", len(raw)) + raw)[: -cut or None] + bytes(at))


def test_headers_give_bytes_and_parameters(tmp_path: Path) -> None:
    write(tmp_path / "model-00001-of-00002.safetensors", {"a.weight": ("BF16", [10, 20], 400)})
    write(tmp_path / "model-00002-of-00002.safetensors", {"b.weight": ("F32", [30], 120)})
    sizes = read_sizes(tmp_path, 16)
    assert sizes is not None
    assert (sizes.total_bytes, sizes.parameters, sizes.files) == (520, 230, 2)
    entries = [t for file in sorted(tmp_path.glob("*")) for t in read_header(file)]
    assert {entry.type: entry.elements for entry in entries} == {"BF16": 200, "F32": 30}


def test_headers_win_over_the_index_but_a_partial_download_does_not(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 999}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    write(tmp_path / "model-00001-of-00002.safetensors", {"a.weight": ("BF16", [10, 20], 400)})
    partial = read_sizes(tmp_path, 16)
    assert partial is not None
    assert (partial.total_bytes, partial.files) == (999, 2)
    write(tmp_path / "model-00002-of-00002.safetensors", {"b.weight": ("BF16", [10, 20], 400)})
    whole = read_sizes(tmp_path, 16)
    assert whole is not None
    assert whole.total_bytes == 800


def test_a_models_folder_carries_its_exact_sizes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    assert read_model(str(tmp_path)).exact_sizes is None
    write(tmp_path / "model.safetensors", {"a.weight": ("BF16", [10, 20], 400)})
    sizes = read_model(str(tmp_path)).exact_sizes
    assert sizes is not None
    assert sizes.total_bytes == 400


def llama(wider: int = 1, vocabulary: int = 1000) -> dict[str, tuple[str, list[int], int]]:
    """The entries of a checkpoint of SMALL, its MLP stored `wider` times as wide."""

    def entry(*shape: int) -> tuple[str, list[int], int]:
        return "BF16", list(shape), 2 * prod(shape)

    found = {"model.embed_tokens.weight": entry(vocabulary, 64), "lm_head.weight": entry(1000, 64),
             "model.norm.weight": entry(64)}  # fmt: skip
    for layer in range(2):
        at = f"model.layers.{layer}."
        found |= {f"{at}self_attn.{name}_proj.weight": entry(64, 64) for name in "qkvo"}
        found |= {f"{at}mlp.{name}_proj.weight": entry(128 * wider, 64) for name in ("gate", "up")}
        found |= {f"{at}{name}_layernorm.weight": entry(64) for name in ("input", "post_attention")}
        found[f"{at}mlp.down_proj.weight"] = entry(64, 128)
    return found


def weights_of(folder: Path) -> dict[str, float]:
    (stage,) = Weights(read_model(str(folder)), "native").stage_lines(Parallelism())
    return {line.name.removeprefix("weights: "): line.bytes for line in stage}


def test_files_that_agree_with_the_configuration_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    counted = weights_of(tmp_path)
    write(tmp_path / "model.safetensors", llama())
    assert weights_of(tmp_path) == counted
    assert read_model(str(tmp_path)).assumed == ()


def test_weights_in_memory_follow_the_headers_class_by_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    counted = weights_of(tmp_path)
    # 1,100 rows where the configuration says 1,000: the embedding grows by a tenth, the head and layers do not.
    write(tmp_path / "model.safetensors", llama(vocabulary=1100))
    assert weights_of(tmp_path) == counted | {"embedding": pytest.approx(counted["embedding"] * 1.1)}
    (said,) = read_model(str(tmp_path)).assumed
    assert said.endswith("weights in memory follow the files")


def test_weights_in_memory_follow_the_total_of_an_index(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    counted = weights_of(tmp_path)
    total = sum(size for _, _, size in llama().values())
    index = {"metadata": {"total_size": int(total * 1.05)}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = weights_of(tmp_path)
    for name in ("embedding", "head", "mlp", "attention"):
        assert found[name] == pytest.approx(counted[name] * 1.05, rel=1e-3)
    (said,) = read_model(str(tmp_path)).assumed
    assert "+5.0%" in said


def test_files_of_another_model_leave_memory_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    counted = weights_of(tmp_path)
    write(tmp_path / "model.safetensors", llama(wider=4))
    assert weights_of(tmp_path) == counted
    (said,) = read_model(str(tmp_path)).assumed
    assert said.endswith("memory on the accelerator the configuration")


CLASSES = {
    "model.layers.3.mlp.experts.7.up_proj.weight_scale_inv": "experts",
    "model.layers.3.mlp.shared_experts.up_proj.weight": "layers",
    "model.layers.61.embed_tokens.weight": "mtp",
    "mtp.layers.0.mlp.experts.3.down_proj.weight": "mtp",
    "model.embed_tokens.weight": "embedding",
    "transformer.wte.weight": "embedding",
    "lm_head.weight": "head",
    "visual.blocks.0.attn.qkv.weight": "vision",
    "vision_tower.encoder.layers.0.mlp.fc1.weight": "vision",
    "model.norm.weight": "layers",
}


@pytest.mark.parametrize(("name", "kind"), CLASSES.items())
def test_names_tell_the_class_of_a_tensor(name: str, kind: str) -> None:
    assert class_of(name, layers=61) == kind


PACKED = [
    # AWQ and GPTQ pack eight 4-bit weights into an int32, MLX into a uint32, FP4 two into a byte.
    ("q_proj.qweight", "I32", 4096 * 512, 4, 4096 * 4096),
    ("q_proj.qzeros", "I32", 32 * 512, 4, 0),
    ("q_proj.scales", "F16", 32 * 4096, 4, 0),
    ("q_proj.g_idx", "I32", 4096, 4, 0),
    ("q_proj.weight", "U32", 4096 * 512, 4, 4096 * 4096),
    ("q_proj.biases", "F16", 4096 * 64, 4, 0),
    ("q_proj.weight", "U8", 4096 * 2048, 4, 4096 * 4096),
    ("q_proj.weight_scale", "F8_E4M3", 4096 * 256, 4, 0),
    ("q_proj.weight_scale_2", "F32", 1, 4, 0),
    ("q_proj.input_scale", "F32", 1, 4, 0),
    ("experts.gate_up_proj_blocks", "U8", 100 * 16, 4, 100 * 32),
    ("experts.gate_up_proj_scales", "U8", 100, 4, 0),
    ("q_proj.weight_packed", "I32", 4096 * 512, 4, 4096 * 4096),
    ("q_proj.weight_shape", "I64", 2, 4, 0),
    ("q_proj.weight", "F8_E4M3", 4096 * 4096, 8, 4096 * 4096),
    ("q_proj.weight_scale_inv", "F32", 32 * 32, 8, 0),
    ("q_proj.weight.absmax", "U8", 4096, 4, 0),
    ("q_proj.bias", "BF16", 4096, 4, 4096),
    ("model.norm.weight", "BF16", 4096, 4, 4096),
    ("gate.e_score_correction_bias", "F32", 256, 8, 256),
]


@pytest.mark.parametrize(("name", "kind", "elements", "bits", "weights"), PACKED)
def test_packed_elements_are_the_weights_they_hold(
    name: str, kind: str, elements: int, bits: int, weights: int
) -> None:
    assert weights_in(StoredTensor(name, kind, elements, 0), bits) == weights


@pytest.mark.parametrize("raw", [b"", b"\xff" * 8, b"\x02" + bytes(7), struct.pack("<Q", 2**40), b"\x10" + bytes(9)])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(BadInputError, match=r"model\.safetensors"):
        read_sizes(tmp_path, 16)


@pytest.mark.parametrize(
    "entry",
    [3, {}, {"dtype": "BF16", "shape": [2], "data_offsets": [0, 5]},
     {"dtype": "Q4", "shape": [2], "data_offsets": [0, 4]},
     {"dtype": "BF16", "shape": [-2], "data_offsets": [0, -4]}, {"dtype": "BF16", "shape": "x", "data_offsets": [0, 4]},
     {"dtype": "BF16", "shape": [True, 2], "data_offsets": [0, 4]}],
)  # fmt: skip
def test_an_entry_that_contradicts_itself_is_refused(entry: object) -> None:
    with pytest.raises(BadInputError, match="damaged"):
        parse_header(json.dumps({"w": entry}).encode(), "f")


@given(st.binary(max_size=200))
def test_random_headers_and_indices_never_crash(raw: bytes) -> None:
    parse_index(raw)
    try:
        parse_header(raw, "f")
    except BadInputError as error:
        assert "\n" not in str(error)


def test_an_index_says_its_total_even_when_the_rest_is_cut_off() -> None:
    raw = b'{"metadata": {"total_size": 688586727753}, "weight_map": {"w": "model-00160-of-000163.safetensors",'
    sizes = parse_index(raw)
    assert sizes is not None
    assert (sizes.total_bytes, sizes.files) == (688_586_727_753, 163)


@pytest.mark.parametrize("text", ['{"metadata": {"total_si', '{"metadata": {}, "weight_map": {}}', ""])
def test_an_index_without_a_total_leaves_the_sizes_to_arithmetic_and_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    (tmp_path / "model.safetensors.index.json").write_text(text)
    model = read_model(str(tmp_path))
    assert model.exact_sizes is None
    assert model.assumed == ("sizes by arithmetic: model.safetensors.index.json states no total_size",)
    write(tmp_path / "model-00001-of-00002.safetensors", {"a.weight": ("BF16", [10, 20], 400)})
    assert read_model(str(tmp_path)).exact_sizes is None, "half a download says nothing about the whole"
    write(tmp_path / "model-00002-of-00002.safetensors", {"b.weight": ("BF16", [10, 20], 400)})
    whole = read_model(str(tmp_path)).exact_sizes
    assert whole is not None
    assert whole.total_bytes == 800


def test_the_makers_own_copy_beside_the_shards_is_not_counted_twice(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a.weight": ("BF16", [10, 20], 400)})
    write(tmp_path / "consolidated.safetensors", {"b.weight": ("BF16", [10, 20], 400)})
    write(tmp_path / "adapter_model.safetensors", {"c.weight": ("BF16", [10], 20)})
    sizes = read_sizes(tmp_path, 16)
    assert sizes is not None
    assert sizes.total_bytes == 400
    (tmp_path / "model.safetensors").unlink()
    alone = read_sizes(tmp_path, 16)
    assert alone is not None
    assert alone.total_bytes == 400


@pytest.mark.parametrize(("share", "said"), [(1.0, False), (2.0, False), (0.3, True), (4.0, True)])
def test_files_that_cannot_be_those_of_the_configuration_are_named(tmp_path: Path, share: float, said: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {"hidden_size": 512, "intermediate_size": 2048}))
    stored = int(share * 2 * read_model(tmp_path).parameters)
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": stored}, "weight_map": {}})
    )
    assert any("follow the files" in note for note in read_model(tmp_path).assumed) is said
