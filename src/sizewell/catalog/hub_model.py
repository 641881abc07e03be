"""A model on the hub: its configuration and its exact sizes, from small files and the first bytes of the weights."""

from __future__ import annotations

from typing import Any

from sizewell.catalog.config_file import NoConfigurationError, parse_json
from sizewell.catalog.hub import download
from sizewell.catalog.safetensors import (
    INDEX_HEAD_BYTES,
    INDEX_NAME,
    header_length,
    parse_header,
    parse_index,
    sizes_of,
)
from sizewell.specs.model import ExactSizes


def download_values(name: str) -> dict[str, Any]:
    """Return the fields of a model's config.json, with those of hf_quant_config.json where it has one."""
    raw = download(name, "config.json")
    if raw is None:
        raise NoConfigurationError(f"{name}: the repository has no config.json")
    values = parse_json(raw, f"{name}/config.json")
    if values.get("quantization_config") is None and (beside := download(name, "hf_quant_config.json")):
        values["hf_quant_config"] = parse_json(beside, f"{name}/hf_quant_config.json")
    return values


def download_index(name: str) -> bytes | None:
    """Return the beginning of a model's safetensors index, None when it has none."""
    return download(name, INDEX_NAME, INDEX_HEAD_BYTES)


def download_sizes(name: str, index: bytes | None, weight_bits: float, layers: int) -> ExactSizes | None:
    """Return what the index, else the header of the only file states; None when neither does."""
    if index is not None:
        return parse_index(index)
    file = "model.safetensors"
    prefix = download(name, file, 8)
    if prefix is None:
        return None
    length = header_length(prefix, f"{name}/{file}")
    raw = download(name, file, 8 + length) or b""
    return sizes_of(parse_header(raw[8:], f"{name}/{file}"), weight_bits, 1, layers)
