"""Public kernel measurements as the cost model sees them: the work of each measured kernel, and its seconds.

The tables are those of the package `aiconfigurator-core` (Apache-2.0): parquet files at
`systems/data/<gpu>/<operation>/<engine>/<version>/<table>_perf.parquet`. Only kernels are read, never its end-to-end
sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from sizewell.catalog.hardware import read_gpu
from sizewell.costs.batch import Floats
from sizewell.costs.kernels import KernelWork
from sizewell.specs.hardware import GpuSpec

GPUS = {
    "a100_sxm": "a100-sxm-80gb", "h100_sxm": "h100-sxm-80gb", "h200_sxm": "h200-sxm-141gb", "l40s": "l40s-48gb",
    "b200_sxm": "b200-sxm-180gb", "b300_sxm": "b300-sxm-288gb", "gb200": "gb200-186gb", "gb300": "gb300-288gb",
    "rtx_pro_6000_server": "rtx-pro-6000-server-96gb",
}  # fmt: skip
"""Folders of the package and the accelerators of the catalogue they are."""

ENGINES = ("vllm", "sglang", "trtllm")
ROWS = 3000
"""Rows of each table that are used, picked at random with a fixed seed."""

WEIGHT_BYTES = {
    "bfloat16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5625, "sq": 1.0, "int8_wo": 1.0, "int4_wo": 0.52,
    "w4a16_mxfp4": 0.53, "w4a8_mxfp4_mxfp8": 0.53,
}  # fmt: skip
CLASSES = {
    "bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8-block", "nvfp4": "fp4", "sq": "int8", "int4_wo": "w4",
    "w4a16_mxfp4": "mx4", "w4a8_mxfp4_mxfp8": "mx4",
}  # fmt: skip
PEAKS = {"bf16": "bf16", "w4": "bf16", "fp8": "fp8", "fp8-block": "fp8", "fp4": "fp4", "int8": "int8", "mx4": "bf16"}
CACHED_BYTES = {"l40s-48gb": 1.3e8, "rtx-pro-6000-server-96gb": 1.7e8}
"""Cards whose last cache holds most of a test from one repetition to the next: smaller streams tell nothing."""

MICROSCALING = "B200|B300|RTX PRO"
"""Accelerators that multiply four-bit weights by 8-bit rows; the tables name both ways, rates are those of that."""

NARROW_ROWS = "w4a8_mxfp4_mxfp8"
"""Weights of four bits by rows of eight: TensorRT-LLM and SGLang always multiply so there, vLLM where it is told to."""

LATENT_DEVICES = "H100|H200|B200|B300|GB200|GB300"

UNBELIEVABLE = 0.97
"""Share of the bandwidth above which a stream came from a cache."""

OTHER_SOURCES = "nongated|min_latency|situ_as_silu|compressedtensorsw4a4mxfp4"
"""Kernels that are a stand-in, or of blocks the cost model does not know."""

OLD_SOURCES = "vllm_fused_moe|vllm_marlin_int4|vllm_mxfp4_moe"
"""Kernels of earlier versions; for fp8 on Hopper they are what engines run, the later table is of another quantiser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Kernels of one class measured on one accelerator under one engine: their work, arrays [1, B], and seconds [B].

    `beside` is a tag of what the engine does only where it is told to.
    """

    kind: str
    gpu: GpuSpec
    engine: str
    version: str
    table: str
    beside: str
    work: KernelWork
    flops_per_s: float
    seconds: Floats

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.seconds)


def measured(root: Path) -> Iterator[Measured]:
    """Yield every table that describes a class of kernels of the cost model."""
    for folder, key in GPUS.items():
        gpu = read_gpu(key)
        for operation, table, reader in READERS:
            for engine in ENGINES:
                for path in _versions(root / folder / operation / engine, table):
                    frame = pd.read_parquet(path)
                    for kind, compute, part in reader(frame, engine):
                        yield from _believable(_sample(part), kind, compute, gpu, (engine, path))


def _versions(folder: Path, table: str) -> list[Path]:
    """Return the tables to read, oldest first: the latest, and of experts all."""
    found = sorted(folder.glob(f"*/{table}_perf.parquet"), key=lambda path: _version(path.parent.name))
    return found if table == "moe" else found[-1:]


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in "".join(c if c.isdigit() else " " for c in name).split())


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(ROWS, random_state=1) if len(frame) > ROWS else frame


def _believable(
    frame: pd.DataFrame, kind: str, compute: str, gpu: GpuSpec, origin: tuple[str, Path]
) -> Iterator[Measured]:
    """Yield the rows whose streams came from memory."""
    if frame.empty:
        return
    seconds = frame.latency.to_numpy(float) * 1e-3
    work = {
        name: frame[name].to_numpy(float) for name in ("flops", "stream", "row", "rows", "units", "products", "depth")
    }
    sizes = work["stream"] + work["row"]
    kept = (seconds > 0) & (sizes / seconds < UNBELIEVABLE * gpu.bytes_per_s)
    if gpu.key in CACHED_BYTES and kind not in {"elementwise", "prefill-attention"}:
        # Very small kernels show how long one takes to start, whatever the cache.
        kept &= (sizes > CACHED_BYTES[gpu.key]) | (sizes < 2e6)
    if kept.sum() < 30:
        return
    engine, path = origin
    yield Measured(
        kind=kind,
        gpu=gpu,
        engine=engine,
        version=path.parent.name,
        table="/".join(path.parts[-4:]),
        beside=str(frame.beside.iloc[0]) if "beside" in frame else "",
        work=KernelWork(
            flops=work["flops"][None, kept], stream_bytes=work["stream"][None, kept], row_bytes=work["row"][None, kept],
            rows=work["rows"][None, kept], units=work["units"][None, kept],
            products=work["products"][None, kept], depth=work["depth"][None, kept],
        ),
        flops_per_s=gpu.peak_flops_per_s(compute),  # type: ignore[arg-type]
        seconds=seconds[kept],
    )  # fmt: skip


Read = Iterator[tuple[str, str, pd.DataFrame]]


def _gemm(frame: pd.DataFrame, engine: str) -> Read:
    frame = frame[(frame.n >= 256) & (frame.k >= 256) & (frame.n * frame.k >= 1 << 19)]
    frame = frame[(frame.n <= 16384) & (frame.k <= 16384)]
    for name, part in frame.groupby("gemm_dtype"):
        kind = CLASSES.get(str(name))
        # vLLM's block-scaled products were timed with their launches from the host, TensorRT-LLM's fp8 ones with a
        # scale computed for each call, which deployments know beforehand.
        # Weight-only tables hold one engine's kernels on one card, which others do not use.
        if kind in {None, "w4"} or (engine, name) in {("vllm", "fp8_block"), ("trtllm", "fp8")}:
            continue
        m, n, k = (part[c].astype(float) for c in "mnk")
        yield f"gemm.{kind}", PEAKS[kind], part.assign(
            flops=2 * m * n * k, stream=n * k * WEIGHT_BYTES[str(name)], row=m * (n + k) * 2, rows=m,
            units=0.0, products=1.0, depth=k,
        )  # fmt: skip


def _experts(frame: pd.DataFrame, engine: str) -> Read:
    # Real routers are uneven. Under expert parallelism most of these kernels also pass the rows that are for other
    # ranks, which tells nothing about experts.
    frame = frame[(frame.distribution == "power_law_1.01") & (frame.moe_ep_size == 1)]
    frame = frame[frame.inter_size / frame.moe_tp_size >= 64]
    old = frame.kernel_source.str.contains(OLD_SOURCES)
    hopper = frame.device.str.contains("H100|H200")
    narrow = hopper & (frame.moe_dtype == "fp8") & (engine == "vllm")
    frame = frame[~frame.kernel_source.str.contains(OTHER_SOURCES) & (old == narrow)]
    for name, part in frame.groupby("moe_dtype"):
        kind = CLASSES.get(str(name))
        if kind is None:
            continue
        tokens, top, experts, hidden = (
            part[c].astype(float) for c in ("num_tokens", "topk", "num_experts", "hidden_size")
        )
        inner = part.inter_size / part.moe_tp_size
        touched = experts * (1 - (1 - top / experts) ** tokens)
        assigned = tokens * top
        expert = 3 * hidden * inner
        wide = kind == "mx4" and part.device.str.contains(MICROSCALING).any()
        if wide and name != NARROW_ROWS and _narrow_always(engine, part):
            continue
        yield f"experts.{kind}", "fp8" if wide else PEAKS[kind], part.assign(
            flops=2 * assigned * expert, stream=touched * expert * WEIGHT_BYTES[str(name)],
            row=assigned * (2 * hidden + 3 * inner) * 2, rows=assigned / touched, units=touched, products=1.0, depth=0.0,
            beside="rows:8" if name == NARROW_ROWS and engine == "vllm" else "",
        )  # fmt: skip


def _narrow_always(engine: str, part: pd.DataFrame) -> bool:
    """Return whether an engine multiplies four-bit weights by 8-bit rows on an accelerator without being told to."""
    return engine == "trtllm" or (engine == "sglang" and not part.device.str.contains("RTX PRO").any())


def _decode(frame: pd.DataFrame, engine: str) -> Read:
    frame = frame.assign(window_size=frame.get("window_size", 0), queries=frame.num_heads / frame.num_key_value_heads)
    frame = frame[(frame.window_size == 0) & frame.head_dim.isin([64, 128]) & (frame.num_heads >= 4)]
    frame = frame[frame.queries.isin([1, 2, 4, 5, 6, 8, 16]) & (frame.step >= 127)]
    for name, part in frame.groupby("kv_cache_dtype"):
        pairs = part.batch_size.astype(float) * (part.step + 1.0)
        width = 1 if name == "fp8" else 2
        yield "decode-attention" + (".fp8" if name == "fp8" else ""), "bf16", part.assign(
            flops=4 * pairs * part.num_heads * part.head_dim,
            stream=2 * pairs * part.num_key_value_heads * part.head_dim * width, row=0.0, rows=part.queries,
            units=part.batch_size, products=1.0, depth=0.0,
        )  # fmt: skip


def _latent(frame: pd.DataFrame, engine: str) -> Read:
    # Elsewhere engines have no kernel for latent attention of their own and the tables are of fallbacks.
    frame = frame[(frame.num_heads >= 8) & (frame.step >= 127) & frame.device.str.contains(LATENT_DEVICES)]
    hopper = frame.device.str.contains("H100|H200|H20")
    for name, part in frame.groupby("kv_cache_dtype"):
        # On Hopper this engine widens fp8 rows in a kernel of its own, which deployments do not choose.
        kept = part[~hopper.loc[part.index]] if engine == "sglang" and name == "fp8" else part
        pairs = kept.batch_size.astype(float) * (kept.step + 1.0)
        width = 1 if name == "fp8" else 2
        yield "latent-attention" + (".fp8" if name == "fp8" else ""), "bf16", kept.assign(
            flops=2 * pairs * kept.num_heads * (576 + 512), stream=pairs * 576 * width, row=0.0, rows=kept.num_heads,
            units=kept.batch_size, products=1.0, depth=0.0,
        )  # fmt: skip


def _prefill(frame: pd.DataFrame, engine: str) -> Read:
    frame = frame.assign(window_size=frame.get("window_size", 0))
    frame = frame[(frame.window_size == 0) & frame.head_dim.isin([64, 128]) & (frame.num_heads >= 4)]
    frame = frame[(frame.isl >= 16) & (frame.attn_dtype == "bfloat16")]
    tokens = frame.batch_size.astype(float) * frame.isl
    width = frame.kv_cache_dtype.map({"fp8": 1}).fillna(2)
    yield "prefill-attention", "bf16", frame.assign(
        flops=2 * tokens * frame.isl * frame.num_heads * frame.head_dim,
        stream=2 * tokens * frame.num_key_value_heads * frame.head_dim * width,
        row=4 * tokens * frame.num_heads * frame.head_dim, rows=frame.head_dim, units=frame.batch_size,
        products=1.0, depth=0.0,
    )  # fmt: skip


def _elementwise(frame: pd.DataFrame, engine: str) -> Read:
    # The others time a copy, or a kernel that also looks for the scale.
    frame = frame if engine == "vllm" else frame.iloc[:0]
    size = frame.m.astype(float) * frame.k * 3
    yield (
        "elementwise",
        "fp32",
        frame.assign(flops=0.0, stream=size, row=0.0, rows=frame.m, units=0.0, products=1.0, depth=0.0),
    )


READERS: tuple[tuple[str, str, Any], ...] = (
    ("gemm", "gemm", _gemm),
    ("moe", "moe", _experts),
    ("attention", "generation_attention", _decode),
    ("mla", "generation_mla", _latent),
    ("attention", "context_attention", _prefill),
    ("quantize", "scale_matrix", _elementwise),
)


STAGED = {("l40s-48gb", engine) for engine in ("vllm", "sglang", "trtllm", "nccl")}
"""Boxes where messages went through host memory: at a tenth of what the slot carries, which says nothing about slots."""


@cache
def messages(root: Path) -> pd.DataFrame:
    """Return every measured collective: gpu, source, kind, ranks, bytes of the full tensor, seconds."""
    found = []
    for folder, key in GPUS.items():
        for engine in ("vllm", "sglang", "trtllm", "nccl"):
            table = "nccl" if engine == "nccl" else "custom_allreduce"
            for path in _versions(root / folder / "comm" / engine, table):
                frame = pd.read_parquet(path)
                frame = frame[~frame.kernel_source.str.contains("eager|MNNVL")]
                if (key, engine) in STAGED:
                    continue
                if engine == "nccl":
                    frame = frame[frame.nccl_dtype == "half"]
                kinds = {"all_reduce": "all-reduce", "all_gather": "all-gather", "alltoall": "all-to-all"}
                frame = frame[frame.op_name.isin(kinds)]
                found.append(
                    pd.DataFrame(
                        {
                            "gpu": key, "engine": engine, "version": path.parent.name, "table": "/".join(path.parts[-4:]),
                            "kind": frame.op_name.map(kinds), "ranks": frame.num_gpus,
                            # The tables count elements of two bytes.
                            "bytes": frame.message_size * 2.0, "seconds": frame.latency * 1e-3,
                        }
                    )
                )  # fmt: skip
    return pd.concat(found, ignore_index=True)
