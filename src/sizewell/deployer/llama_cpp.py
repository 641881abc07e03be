"""llama.cpp's words: `llama-server` with the limits that were priced, and those words read back.

The context it is given is shared by its slots: sequences × longest sequence. It knows no share of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from sizewell.costs.engine_rules import sets_room_aside
from sizewell.costs.host_layers import Group
from sizewell.costs.ledger import ledger
from sizewell.deployer.launch import Flag, Launch, OnHost, Variable
from sizewell.deployer.terms import Terms, Words, spoken
from sizewell.specs.deployment import EngineSettings, Parallelism
from sizewell.specs.errors import BadInputError
from sizewell.specs.kv_format import parse_kv_format

KV_WORDS = {
    "bf16": "bf16", "fp16": "f16", "fp32": "f32", "q8_0": "q8_0", "q5_1": "q5_1", "q5_0": "q5_0", "q4_1": "q4_1",
    "q4_0": "q4_0", "iq4_nl": "iq4_nl",
}  # fmt: skip
TENSORS: Mapping[Group, str] = {
    "routed experts": r"ffn_(gate|up|down)_exps",
    "feed-forward": r"ffn_(gate|up|down)(_shexp)?\.weight",
    "attention": r"(attn_[qkvo]\w*|ssm_\w+)\.weight",
}
"""Names that the tensors of each group have in a GGUF file."""
OVERRIDE = re.compile(r"blk\\\.\(([\d|]+)\)\\\.([^=]+)=CPU")
EVERY_LAYER = "999"
FUSED_FROM = 6325
"""The first build that fuses attention unasked, wherever it can."""
QUIET_FROM = 9976
"""The first build read that tells the sizes of weights and cache only where it is asked to."""
WITHOUT_GRAPHS = "GGML_CUDA_DISABLE_GRAPHS"


def program(launch: Launch) -> tuple[str, ...]:
    """Return the words before the flags."""
    del launch
    return ("llama-server",)


def flags(launch: Launch) -> Iterator[Flag]:
    """Yield the words it is told; raises BadInputError for settings it has no words for."""
    _refuse(launch)
    site, cut, settings = launch.site, launch.pool.parallelism, launch.pool.settings
    context = str(settings.max_model_len_tokens * settings.max_num_seqs)
    tokens = str(settings.max_num_batched_tokens)
    yield Flag(name="--model", value=site.model_path, why="the GGUF file")
    yield Flag(name="--alias", value=site.served_name, why="what clients ask for")
    yield Flag(name="--host", value=site.host, why="where it listens")
    yield Flag(name="--port", live="port", why="where clients connect")
    if launch.deployment.cluster.gpu.kind != "cpu":
        yield Flag(name="--n-gpu-layers", value=EVERY_LAYER, why="every layer on the accelerator, as priced")
    yield from _host_flags(launch.on_host)
    if cut.gpus > 1:
        split = "row" if cut.tp > 1 else "layer"
        yield Flag(name="--split-mode", value=split, why="how the accelerators share the model, as priced")
        yield Flag(name="--tensor-split", value=",".join("1" * cut.gpus), why="equal parts, as priced")
    yield Flag(name="--parallel", value=str(settings.max_num_seqs), why="sequences at once, as priced")
    yield Flag(name="--ctx-size", value=context, why="longest sequence, as priced, for each of them")
    yield Flag(name="--batch-size", value=tokens, why="tokens of one step, as priced")
    yield Flag(name="--ubatch-size", value=tokens, why="the same: a step is not cut again")
    kv = parse_kv_format(launch.deployment.kv_format)
    if kv != "auto":
        if kv not in KV_WORDS:
            raise BadInputError(f"llama.cpp keeps no {kv} cache: choose auto or one of {', '.join(KV_WORDS)}")
        yield Flag(name="--cache-type-k", value=KV_WORDS[kv], why="format of the KV cache, as priced")
        yield Flag(name="--cache-type-v", value=KV_WORDS[kv], why="the same for values")
    if _build(launch) < FUSED_FROM and (kv != "auto" or not _has_plain_scores(launch)):
        yield Flag(name="--flash-attn", why="attention in one kernel, as priced; values in a short format need it")
    if _build(launch) >= QUIET_FROM:
        yield Flag(name="--log-verbosity", value="4", why="figures of the start, which it else keeps to itself")
    yield Flag(name="--metrics", why="/metrics is off by default")
    yield Flag(name="--jinja", why="the model's own chat template")


def room_caution(launch: Launch) -> str:
    """Return why the cache may not fit though sequences of the load do, or nothing: all of it is set aside at once."""
    if not sets_room_aside(launch.deployment.engine):
        return ""
    settings = launch.pool.settings
    length, slots = settings.max_model_len_tokens, settings.max_num_seqs
    held = ledger(launch.deployment).concurrency(length)
    if held >= slots:
        return ""
    return (
        f"llama.cpp sets room aside for {slots} sequences of {length:,} tokens when it starts, and {held:.1f} fit: "
        "say a lower --max-num-seqs or --max-model-len"
    )


def _build(launch: Launch) -> int:
    """Return the build asked for; of one that states no number, that whose flags are known."""
    asked = re.fullmatch(r"b?(\d+)", launch.deployment.engine.version)
    return int(asked[1] if asked else launch.flags.release.removeprefix("b"))


def _has_plain_scores(launch: Launch) -> bool:
    plain = launch.deployment.engine.plain_prompts
    return plain is not None and plain.score_bytes > 0


def _host_flags(moved: OnHost) -> Iterator[Flag]:
    """Yield the short word for experts of the first blocks, and patterns of tensor names for everything else."""
    patterns = dict(moved)
    experts = patterns.get("routed experts", ())
    if experts and experts == tuple(range(len(experts))):
        del patterns["routed experts"]
        yield Flag(name="--n-cpu-moe", value=str(len(experts)), why="blocks whose experts the host computes, as priced")
    if patterns:
        said = ",".join(
            rf"blk\.({'|'.join(map(str, blocks))})\.{TENSORS[group]}=CPU" for group, blocks in patterns.items()
        )
        yield Flag(name="--override-tensor", value=said, why="weights the host computes with, as priced")


def _read_host(said: Words) -> OnHost:
    found: dict[Group, tuple[int, ...]] = {}
    if "--n-cpu-moe" in said:
        found["routed experts"] = tuple(range(int(said["--n-cpu-moe"] or 0)))
    for blocks, tensors in OVERRIDE.findall(said.get("--override-tensor") or ""):
        group = next(group for group, name in TENSORS.items() if name == tensors)
        found[group] = tuple(map(int, blocks.split("|")))
    return found


def _refuse(launch: Launch) -> None:
    cut, settings = launch.pool.parallelism, launch.pool.settings
    if launch.nodes > 1 or cut.dp > 1 or cut.ep > 1 or (cut.tp > 1 and cut.pp > 1):
        raise BadInputError(
            f"llama.cpp is not rendered for {cut} on {launch.nodes} nodes: use --tp or --pp on one node"
        )
    if settings.kv_host_bytes:
        raise BadInputError("llama.cpp keeps no second cache in host memory: leave --kv-host-memory out")
    if settings.speculative_tokens:
        raise BadInputError("llama.cpp drafts with another model: leave the speculative tokens out")
    if settings.memory_fraction != launch.deployment.engine.memory_fraction:
        raise BadInputError("llama.cpp takes what memory it needs: leave --memory-fraction out")
    if not (settings.prefix_caching and settings.chunked_prefill):
        raise BadInputError("llama.cpp always keeps prompts and always cuts them: leave both on")


def joining(launch: Launch) -> Iterator[Flag]:
    """Yield nothing: it runs on one node."""
    del launch
    yield from ()


def handover(launch: Launch) -> Iterator[Flag]:
    """Yield nothing: it hands no cache over."""
    del launch
    yield from ()


FOLLOWER: Flag | None = None
"""There are no nodes after the first."""


def environment(launch: Launch) -> Iterator[Variable]:
    """Yield the variables it reads."""
    if launch.pool.settings.enforce_eager:
        yield Variable(name=WITHOUT_GRAPHS, value="1", why="priced without CUDA graphs")


def read(words: Sequence[str], variables: frozenset[str]) -> Terms:
    """Return what a command line and the variables set for it tell the engine."""
    said = spoken(words)
    slots, parts = int(said["--parallel"] or 1), len((said.get("--tensor-split") or "1").split(","))
    by_row = said.get("--split-mode") == "row"
    return Terms(
        model_path=said["--model"] or "",
        served_name=said["--alias"] or "",
        kv_format=parse_kv_format(said.get("--cache-type-k") or "auto"),
        parallelism=Parallelism(tp=parts if by_row else 1, pp=1 if by_row else parts),
        settings=EngineSettings(
            max_num_seqs=slots,
            max_num_batched_tokens=int(said["--batch-size"] or 0),
            max_model_len_tokens=int(said["--ctx-size"] or 0) // slots,
            memory_fraction=1.0,
            enforce_eager=WITHOUT_GRAPHS in variables,
        ),
        on_host=_read_host(said),
    )
