"""What `sizewell explain` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sizewell.cli.output import duration, gib, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.cli.questions import Explanation
    from sizewell.costs.ledger import MemoryLedger
    from sizewell.costs.lines import LedgerLine
    from sizewell.planner.bill_of_materials import BillOfMaterials
    from sizewell.specs.deployment import Deployment
    from sizewell.specs.model import ModelSpec
    from sizewell.traffic.workload import Workload


def show_explanation(answer: Explanation, workload: Workload, contexts: Sequence[int]) -> None:
    """Print an explanation: what it is, its memory, what the nodes need."""
    show(
        *headline(answer.deployment),
        memory_table(answer.memory),
        *memory_verdict(answer.memory, contexts),
        materials_table(answer.materials),
    )


def headline(deployment: Deployment) -> tuple[str, ...]:
    """Return the lines that say what is explained."""
    return (
        model_line(deployment.model),
        deployment_line(deployment),
        settings_line(deployment),
        *(f"assumed: {fact}" for fact in (*deployment.model.assumed, *_engine_notes(deployment))),
        "",
    )


def _engine_notes(deployment: Deployment) -> tuple[str, ...]:
    return (deployment.engine.note,) if deployment.engine.note else ()


def model_line(model: ModelSpec) -> str:
    """Return a model in a line."""
    active = f", {model.active_parameters / 1e9:,.1f} active" if model.is_moe else ""
    return f"{model.name}: {model.parameters / 1e9:,.1f} billion parameters{active}, stored as {model.weight_format}"


def deployment_line(deployment: Deployment) -> str:
    """Return hardware, cut and formats in a line."""
    cluster = deployment.cluster
    pool = deployment.pools[0]
    copies = f"{pool.replicas} × " if pool.replicas > 1 else ""
    return (
        f"on {cluster.nodes} × {cluster.node.key} with {cluster.gpus_per_node} × {cluster.gpu.key}, "
        f"{copies}{pool.parallelism}, {deployment.engine.name} {deployment.engine.version}, "
        f"weights {deployment.weight_format}, KV cache {deployment.kv_format}"
    )


def settings_line(deployment: Deployment) -> str:
    """Return what is said to the engine."""
    settings = deployment.pools[0].settings
    return (
        f"max_num_seqs {settings.max_num_seqs}, max_num_batched_tokens {settings.max_num_batched_tokens}, "
        f"max_model_len {settings.max_model_len_tokens}, memory fraction {settings.memory_fraction:g}"
        f"{', eager' if settings.enforce_eager else ''}"
    )


def memory_table(ledger: MemoryLedger) -> Table:
    """Return the ledger, a row a line, totals last."""
    rows = [_row(line) for line in ledger.lines]
    rows.append(("total", gib(ledger.total_bytes), "", "all lines added"))
    rows.append(("free", gib(ledger.headroom_bytes), "", f"of {gib(ledger.gpu_bytes)} GiB the driver reports"))
    stage = f", pipeline stage {ledger.stage + 1}" if ledger.stage else ""
    return table(f"Memory of one GPU{stage}", ("line", ">GiB", "from", "formula"), rows)


def _row(line: LedgerLine) -> tuple[str, str, str, str]:
    beside = "" if line.place == "inside" else " (beside the engine's share)"
    spread = "" if line.low == line.high else f" [{gib(line.low)}–{gib(line.high)}]"
    return (line.name + beside, gib(line.bytes), line.provenance, line.explain() + spread)


def memory_verdict(ledger: MemoryLedger, contexts: Sequence[int]) -> tuple[str, ...]:
    """Return what the ledger means: the verdict, and how many sequences the cache holds."""
    held = ", ".join(f"{ledger.concurrency(tokens):,.1f} of {tokens:,} tokens" for tokens in contexts)
    room = ledger.kv_figure
    if room.value <= 0:
        return (f"{ledger.verdict.upper()}: {gib(-room.value)} GiB more are needed on this GPU before any cache", "")
    return (
        f"{ledger.verdict.upper()}: KV cache {gib(room.value)} GiB [{gib(room.low)}–{gib(room.high)}] = "
        f"{ledger.kv_tokens:,} tokens at {ledger.kv_bytes_per_token:,.0f} B each on this GPU",
        f"sequences at once: {held}",
        "",
    )


def materials_table(needs: BillOfMaterials) -> Table:
    """Return what each node needs beside its accelerators."""
    loads = "; ".join(f"{load.storage} {duration(load.cold_s)}" for load in needs.loads)
    memory = f"{gib(needs.host_ram_minimum_bytes)} GiB at least, {gib(needs.host_ram_bytes)} GiB to restart warm"
    rows = [
        ("host memory", memory),
        ("CPU cores", f"{needs.cpu_cores}" + ("" if needs.host_has_cores else ": more than this node has")),
        ("disk", f"{gib(needs.disk_bytes)} GiB"),
        ("start, nothing cached", loads),
        ("network", needs.network),
        ("power, all nodes", f"{needs.power_w / 1e3:,.2f} kW, {needs.cooling_btu_per_h:,.0f} BTU/h to cool"),
    ]
    return table(f"What each of {needs.nodes} node(s) {needs.node_name} needs", ("need", "amount"), rows)
