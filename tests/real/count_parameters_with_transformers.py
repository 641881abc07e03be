"""Count a model's parameters with Hugging Face transformers, on the meta device.

Given config.json files, this builds the class each one names (no weights, no
remote code, no network) and prints what the built model holds.  With `--csv` it
goes over every model of an index.toml and writes the table that
`tests/golden/transformers_parameter_counts.csv` keeps.

It needs torch and transformers, which sizewell itself never does, so run it from
a throw-away environment:

    python tests/real/count_parameters_with_transformers.py CONFIG.json [...]
    python tests/real/count_parameters_with_transformers.py --csv OUT.csv --index INDEX.toml
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

Json = dict[str, Any]

QUANTISATION_KEYS = ("quantization_config", "hf_quant_config", "compression_config")

#: Parts of a parameter name that say it belongs to an image, video or audio
#: encoder or to its projector into the text model.
TOWER = re.compile(
    r"(^|\.)(visual|vision_tower|vision_model|vision_encoder|vision_projection|vision_embedder|"
    r"audio_tower|audio_model|multi_modal_projector|mm_projector|projector|"
    r"embed_vision|embed_audio|vit_large_projector)(\.|$)"
)
#: Parts of a name that belong to neither the text decoder nor a tower (speech output).
OTHER = re.compile(r"^(talker|code2wav|token2wav)\.")
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")

#: Configuration keys that say the checkpoint holds multi-token-prediction layers;
#: transformers builds none of them.
MTP_KEYS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers")

#: Other differences between what transformers builds and the checkpoint, by architecture.
KNOWN_DIFFERENCES: dict[str, str] = {
    "Qwen3NextForCausalLM": "the checkpoint has an MTP layer that its configuration does not mention",
    "MiMoV2FlashForCausalLM": "the checkpoint has MTP layers that its configuration does not mention",
    "LongcatFlashForCausalLM": (
        "transformers makes gate_up_proj for the weightless zero experts too; "
        "the checkpoint has n_routed_experts of them, and an MTP layer"
    ),
    "FalconForCausalLM": "the checkpoint stores a second copy of the tied output matrix",
}

#: Architectures whose code lives in the model repository and that transformers lacks.
REMOTE_CODE = frozenset(
    {
        "DeciLMForCausalLM",
        "InternLMForCausalLM",
        "KimiK3ForConditionalGeneration",
        "KimiVLForConditionalGeneration",
        "MiMoForCausalLM",
    }
)


@dataclass
class Counts:
    """Parameters of one built model; a tensor shared by two names counts once."""

    architecture: str
    total: int = 0
    text: int = 0
    vision: int = 0
    other: int = 0
    embedding: int = 0
    lm_head: int = 0
    routed_experts: int = 0
    persistent_buffers: int = 0
    layers: list[int] = field(default_factory=list)


#: Released files whose `model_type` is another family's.
MISLABELLED = ("Grok1ForCausalLM",)


class CannotBuildError(Exception):
    """The model cannot be built here; the message is the status to record."""


def without_quantisation(config: Json) -> Json:
    """The configuration of the unquantised model: quantised tensors count as what they stand for."""
    return {
        key: without_quantisation(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in QUANTISATION_KEYS
    }


def class_named(architecture: str) -> type[PreTrainedModel] | None:
    """The transformers class of that name, if it has one."""
    found = getattr(transformers, architecture, None)
    return found if isinstance(found, type) and issubclass(found, PreTrainedModel) else None


def config_object(raw: Json, model_class: type[PreTrainedModel] | None) -> PreTrainedConfig:
    """The configuration object for `raw`, by its model_type, else by the class that `architectures` names."""
    model_type = raw.get("model_type", "")
    if model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type].from_dict(raw)
    if model_class is None or model_class.config_class is None:
        architecture = (raw.get("architectures") or [""])[0]
        raise CannotBuildError("needs-remote-code" if architecture in REMOTE_CODE else "unknown-architecture")
    return model_class.config_class.from_dict(raw)


def builder(config: PreTrainedConfig, model_class: type[PreTrainedModel] | None) -> Callable[[], PreTrainedModel]:
    """How to make the model: the named class, else the automatic one for text or for images."""
    config_class = None if model_class is None else model_class.config_class
    if model_class is not None and config_class is not None and isinstance(config, config_class):
        return lambda: model_class(config)
    auto = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    return lambda: auto.from_config(config)  # type: ignore[no-untyped-call]


def build(raw: Json) -> PreTrainedModel:
    """Build the model that a config.json names, on the meta device, without remote code."""
    raw = without_quantisation(raw)
    architecture = (raw.get("architectures") or [""])[0]
    if architecture in MISLABELLED:
        raise CannotBuildError("unknown-architecture")
    model_class = class_named(architecture)
    config = config_object(raw, model_class)
    config.dtype = torch.bfloat16
    try:
        with torch.device("meta"):
            model = builder(config, model_class)()
    except ImportError:
        # Encoders that come with another library, such as timm.
        raise CannotBuildError("needs-another-library") from None
    model.tie_weights()
    return model


def distinct_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter once, under the first of its names."""
    yield from model.named_parameters(remove_duplicate=True)


def persistent_buffers(model: nn.Module) -> int:
    """Elements of buffers that a checkpoint stores (router correction biases, mostly)."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return sum(
        tensor.numel()
        for name, tensor in model.state_dict().items()
        if name not in parameters and isinstance(tensor, torch.Tensor)
    )


def own_size(module: nn.Module | None, taken: set[int]) -> int:
    """Elements of a module's parameters that nothing before it already held."""
    if module is None:
        return 0
    fresh = [p for p in module.parameters() if id(p) not in taken]
    taken.update(id(p) for p in fresh)
    return sum(p.numel() for p in fresh)


def is_routed_expert(name: str) -> bool:
    """Whether the tensor belongs to experts that a router chooses between."""
    return ".experts." in name and ".shared_experts." not in name


def count(model: PreTrainedModel) -> Counts:
    """Add up a built model by part."""
    counts = Counts(architecture=type(model).__name__)
    per_layer: dict[int, int] = {}
    for name, parameter in distinct_parameters(model):
        size = parameter.numel()
        counts.total += size
        if OTHER.search(name):
            counts.other += size
            continue
        if TOWER.search(name):
            counts.vision += size
            continue
        counts.text += size
        if is_routed_expert(name):
            counts.routed_experts += size
        if (match := LAYER.search(name)) is not None:
            per_layer[int(match[1])] = per_layer.get(int(match[1]), 0) + size
    taken: set[int] = set()
    speaker = getattr(model, "thinker", model)
    counts.embedding = own_size(speaker.get_input_embeddings(), taken)
    counts.lm_head = own_size(speaker.get_output_embeddings(), taken)
    counts.persistent_buffers = persistent_buffers(model)
    counts.layers = [per_layer[index] for index in sorted(per_layer)]
    return counts


def count_config(path: Path) -> Counts:
    """Count the model of one config.json."""
    return count(build(json.loads(path.read_text(encoding="utf-8"))))


def short(error: BaseException) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(error).split())
    return f"error: {type(error).__name__}: {text}"[:120]


COLUMNS = (
    "model_id",
    "transformers_version",
    "architecture",
    "total",
    "text",
    "vision",
    "other",
    "embedding",
    "lm_head",
    "routed_experts",
    "persistent_buffers",
    "status",
    "notes",
)


def mtp_layers(raw: Json) -> int:
    """How many multi-token-prediction layers the configuration names, at any depth."""
    here = max((raw[key] for key in MTP_KEYS if isinstance(raw.get(key), int)), default=0)
    deeper = (mtp_layers(value) for value in raw.values() if isinstance(value, dict))
    return max(here, *deeper, 0)


def differences(built: str, raw: Json) -> str:
    """What the built model is known to lack, or to have too much of."""
    notes = []
    named = (raw.get("architectures") or [""])[0]
    if built != named:
        notes.append(f"built as {built}")
    if layers := mtp_layers(raw):
        notes.append(f"{layers} MTP layer(s) named by the configuration not built")
    if built in KNOWN_DIFFERENCES:
        notes.append(KNOWN_DIFFERENCES[built])
    return "; ".join(notes)


def table_row(model_id: str, path: Path) -> Json:
    """One row of the golden table; what cannot be built says why in `status`."""
    raw: Json = json.loads(path.read_text(encoding="utf-8"))
    row: Json = dict.fromkeys(COLUMNS, "")
    row |= {
        "model_id": model_id,
        "transformers_version": transformers.__version__,
        "architecture": (raw.get("architectures") or [""])[0],
        "status": "ok",
    }
    try:
        counts = asdict(count(build(raw)))
    except CannotBuildError as reason:
        return row | {"status": str(reason)}
    except Exception as error:  # any failure of the library is a result to record
        return row | {"status": short(error)}
    built = counts.pop("architecture")
    counts.pop("layers")
    return row | counts | {"notes": differences(built, raw)}


def write_table(index: Path, output: Path) -> None:
    """Count every model of an index.toml and write the table."""
    entries = tomllib.loads(index.read_text(encoding="utf-8"))
    known: dict[str, Json] = {}
    with output.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for model_id in sorted(entries, key=str.lower):
            file = entries[model_id]["file"]
            if file not in known:
                known[file] = table_row(model_id, index.parent / file)
            writer.writerow(known[file] | {"model_id": model_id})
            print(model_id, known[file]["status"], known[file]["total"], file=sys.stderr)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, help="config.json files to count")
    parser.add_argument("--index", type=Path, help="index.toml of the models to tabulate")
    parser.add_argument("--csv", type=Path, help="where to write the table of --index")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    for path in arguments.configs:
        try:
            print(json.dumps({"config": path.name} | asdict(count_config(path))))
        except CannotBuildError as reason:
            print(json.dumps({"config": path.name, "status": str(reason)}))
    if arguments.index and arguments.csv:
        write_table(arguments.index, arguments.csv)


if __name__ == "__main__":
    main()
