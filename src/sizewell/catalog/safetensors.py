"""Exact sizes of a checkpoint from safetensors headers or the index, without reading weights.

Packed integers (AWQ, GPTQ, MLX, FP4) are counted as the weights they hold, scales and zero points as none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sizewell.specs.errors import BadInputError
from sizewell.specs.model import ExactSizes, FileClass

LARGEST_HEADER_BYTES = 64 * 2**20
LARGEST_INDEX_BYTES = 128 * 2**20
INDEX_HEAD_BYTES = 64 * 2**10
INDEX_NAME = "model.safetensors.index.json"

BESIDE_SHARDS = ("consolidated", "adapter")
"""Mistral's own copy of a checkpoint, and adapters saved into its folder."""

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Bits of one element of each safetensors type."""

MOST_LAYERS = 10_000

CLASS_WORDS: tuple[tuple[FileClass, re.Pattern[str]], ...] = (
    ("vision", re.compile(r"(?:^|[._])(?:vision|visual|vit|multi_modal|mm_projector|audio)")),
    ("experts", re.compile(r"\.experts\.")),
    ("embedding", re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embeddings?)\.")),
    ("head", re.compile(r"(?:^|\.)(?:lm_head|embed_out|output)\.weight")),
)
"""Words by which names tell classes apart, the first that is found."""

_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,6})\.")

BESIDE_WEIGHTS = re.compile(
    r"(?:scales?|_scale_inv|_scale_2|zeros|zero_point|g_idx|perm|weight_shape|biases|absmax|quant_map|nested_\w+"
    r"|quant_state\.\w+|codebooks|input_global_scale|weight_global_scale)$"
)
"""Names of what a quantizer stores beside the weights."""

_TOTAL = re.compile(rb'"total_size"\s*:\s*(\d{1,18})(?:\.0)?\s*[,}]')
_PARAMETERS = re.compile(rb'"total_parameters"\s*:\s*(\d{1,18})\s*[,}]')
_SHARD = re.compile(rb"-of-(\d{1,6})\.safetensors")


class StoredTensor(NamedTuple):
    """One entry of a header: elements as stored, before unpacking."""

    name: str
    type: str
    elements: int
    bytes: int


def read_sizes(folder: Path, weight_bits: float, layers: int = MOST_LAYERS) -> ExactSizes | None:
    """Return the exact sizes of the checkpoint in a folder, None when neither headers nor an index tell them.

    Headers win over the index. `weight_bits` is the width of a packed weight; layers beyond `layers` predict several
    tokens. BadInputError for a damaged file.
    """
    shards = _served(sorted(folder.glob("*.safetensors")))
    index = folder / INDEX_NAME
    indexed = read_index(index) if index.is_file() else None
    # A folder with fewer shards than their names count is a partial download: only the index knows the whole.
    counted = indexed.files if indexed else max((_counted(shard.name.encode()) for shard in shards), default=1)
    if shards and len(shards) >= counted:
        tensors = [tensor for shard in shards for tensor in read_header(shard)]
        return sizes_of(tensors, weight_bits, len(shards), layers)
    return indexed


def _served(files: list[Path]) -> list[Path]:
    """Return the files engines load: not the maker's own copy beside them, nor adapters."""
    others = [file for file in files if not file.name.startswith(BESIDE_SHARDS)]
    return others or [file for file in files if not file.name.startswith("adapter")]


def sizes_of(tensors: Iterable[StoredTensor], weight_bits: float, files: int, layers: int = MOST_LAYERS) -> ExactSizes:
    """Return the sum of header entries, whole and by class."""
    listed = list(tensors)
    by_class: dict[FileClass, int] = {}
    for tensor in listed:
        kind = class_of(tensor.name, layers)
        by_class[kind] = by_class.get(kind, 0) + tensor.bytes
    return ExactSizes(
        total_bytes=sum(tensor.bytes for tensor in listed),
        parameters=sum(weights_in(tensor, weight_bits) for tensor in listed),
        files=files,
        source="safetensors headers",
        by_class=tuple(sorted(by_class.items())),
    )


def class_of(name: str, layers: int = MOST_LAYERS) -> FileClass:
    """Return the class of a tensor by its name in a checkpoint of so many layers."""
    numbered = _LAYER.search(name)
    if name.startswith("mtp.") or ".mtp" in name or (numbered and int(numbered[1]) >= layers):
        return "mtp"
    return next((kind for kind, words in CLASS_WORDS if words.search(name)), "layers")


def weights_in(tensor: StoredTensor, weight_bits: float) -> int:
    """Return how many weights an entry holds: packed integers unpacked, scales and indices none."""
    if BESIDE_WEIGHTS.search(tensor.name) or tensor.type in ("I64", "U64", "BOOL", "I16", "U16"):
        return 0
    if tensor.type in ("I32", "U32", "U8") and 0 < weight_bits <= 8:
        return int(tensor.elements * BITS[tensor.type] / weight_bits)
    return tensor.elements


def read_header(file: Path) -> tuple[StoredTensor, ...]:
    """Return the entries of one safetensors file; BadInputError when it is cut short or damaged."""
    try:
        with file.open("rb") as stream:
            return parse_header(*_header_of(stream, str(file)))
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror})") from None


def _header_of(stream: BinaryIO, source: str) -> tuple[bytes, str]:
    length = header_length(stream.read(8), source)
    raw = stream.read(length)
    if len(raw) < length:
        raise BadInputError(f"{source}: is cut short inside its header")
    return raw, source


def header_length(prefix: bytes, source: str) -> int:
    """Return the length the first eight bytes state; BadInputError above 64 MiB."""
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= LARGEST_HEADER_BYTES:
        raise BadInputError(f"{source}: is not a safetensors file (header of {length} bytes)")
    return length


def parse_header(raw: bytes, source: str) -> tuple[StoredTensor, ...]:
    """Return the entries of a header; BadInputError for anything but the format."""
    try:
        header = json.loads(raw)
        return tuple(_entry(name, entry) for name, entry in header.items() if name != "__metadata__")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise BadInputError(f"{source}: its safetensors header is damaged") from None


def _entry(name: str, entry: dict[str, object]) -> StoredTensor:
    shape, kind, offsets = entry["shape"], entry["dtype"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(kind, str) or not isinstance(offsets, list):
        raise TypeError
    if len(offsets) != 2 or kind not in BITS or len(shape) > 16:
        raise ValueError
    elements = 1
    for length in shape:
        if type(length) is not int or not 0 <= length < 2**48:
            raise ValueError
        elements *= length
    start, end = offsets
    if type(start) is not int or type(end) is not int or (end - start) * 8 != elements * BITS[kind]:
        raise ValueError
    return StoredTensor(name, kind, elements, end - start)


def read_index(file: Path) -> ExactSizes | None:
    """Return what an index states about the whole checkpoint, None when it is cut short before its total.

    Its first bytes are read where they suffice.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(INDEX_HEAD_BYTES)
            if not (_TOTAL.search(head) and _SHARD.search(head)):
                head += stream.read(LARGEST_INDEX_BYTES)
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror})") from None
    return parse_index(head)


def parse_index(raw: bytes) -> ExactSizes | None:
    """Return the sizes an index states, None without a total; parameters are 0 where it names none."""
    total = _TOTAL.search(raw)
    if total is None:
        return None
    parameters = _PARAMETERS.search(raw)
    return ExactSizes(
        total_bytes=int(total[1]),
        parameters=int(parameters[1]) if parameters else 0,
        files=_counted(raw),
        source="safetensors index",
    )


def _counted(name: bytes) -> int:
    """Return the number of shards the first file name in a text counts to; 1 without one."""
    shard = _SHARD.search(name)
    return int(shard[1]) if shard else 1
