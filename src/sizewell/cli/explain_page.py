"""What `sizewell explain` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sizewell.cli.explain_advice import advice_parts
from sizewell.cli.output import amount, duration, gib, show, spread, table
from sizewell.cli.rehearsal_text import rehearsal_lines
from sizewell.planner.support import parts_a_block, unsupported

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.cli.explain_advice import Advice
    from sizewell.cli.questions import Explanation
    from sizewell.costs.ledger import MemoryLedger
    from sizewell.costs.lines import LedgerLine
    from sizewell.planner.bill_of_materials import BillOfMaterials
    from sizewell.planner.prediction import Prediction
    from sizewell.planner.step_account import StepAccount
    from sizewell.specs.deployment import Deployment, EngineSettings
    from sizewell.specs.model import ModelSpec
    from sizewell.traffic.workload import Workload


def show_explanation(
    answer: Explanation, contexts: Sequence[int], misses: Sequence[str], advice: Advice | None
) -> None:
    """Print an explanation: what it is, its memory, what the nodes need."""
    show(
        *headline(answer.deployment, answer.calibrated_by),
        memory_table(answer.memory),
        *memory_verdict(answer.memory, contexts),
        *host_verdict(answer.materials),
        *(served_lines(answer.workload, answer.served) if answer.served else ()),
        *(rehearsal_lines(answer.rehearsal) if answer.rehearsal else ()),
        *(f"LIMIT MISSED: {miss}" for miss in misses),
        *((step_table(answer.step), step_line(answer.step), "") if answer.step else ()),
        *(advice_parts(advice) if advice else ()),
        materials_table(answer.materials),
    )


def host_verdict(needs: BillOfMaterials) -> tuple[str, ...]:
    """Return a line where a node's own memory is too small; its accelerators may have room all the same."""
    if needs.host_has_ram:
        return ()
    wanted, there = gib(needs.host_ram_minimum_bytes), gib(needs.host_ram_there_bytes)
    return (
        f"THE HOST LACKS MEMORY: {wanted} GiB are needed, a {needs.node_name} is taken to have {there} GiB; --node "
        "names another kind, and your own is one file (docs/catalogue.md)",
        "",
    )


def headline(deployment: Deployment, calibrated_by: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the lines that say what is explained."""
    return (
        model_line(deployment.model),
        deployment_line(deployment),
        settings_line(deployment),
        *([f"speed as calibrated by {', '.join(calibrated_by)} of your catalogue"] if calibrated_by else []),
        *(f"assumed: {fact}" for fact in (*deployment.model.assumed, *_engine_notes(deployment))),
        *_unsupported(deployment),
        "",
    )


def _engine_notes(deployment: Deployment) -> tuple[str, ...]:
    return (deployment.engine.note,) if deployment.engine.note else ()


def _unsupported(deployment: Deployment) -> tuple[str, ...]:
    model, weights, engine = deployment.model, deployment.weight_format, deployment.engine
    broken = (parts_a_block(model, weights, engine, pool.parallelism) for pool in deployment.pools)
    why = unsupported(model, weights, engine, deployment.cluster.gpu, asked=True) or next(filter(None, broken), "")
    return (f"NOT SUPPORTED: {why}; a plan would reject this, the figures say what it would be like",) if why else ()


def model_line(model: ModelSpec) -> str:
    """Return a model in a line."""
    active = f", {model.active_parameters / 1e9:,.1f} active" if model.is_moe else ""
    return f"{model.name}: {model.parameters / 1e9:,.1f} billion parameters{active}, stored as {model.weight_format}"


def deployment_line(deployment: Deployment) -> str:
    """Return hardware, cut and formats in a line."""
    places = [place for place in (deployment.cluster, deployment.decode_cluster) if place]
    stands = " and ".join(
        f"{place.nodes} × {place.node.key} with {place.gpus_per_node} × {place.gpu.key}" for place in places
    )
    return (
        f"on {stands}, {_pools(deployment)}, {deployment.engine.name} {deployment.engine.version}, "
        f"weights {deployment.weight_format}, KV cache {deployment.kv_format}"
    )


def _pools(deployment: Deployment) -> str:
    split = len(deployment.pools) > 1
    said = (
        (f"{pool.role} " if split else "")
        + (f"{pool.replicas} × " if split or pool.replicas > 1 else "")
        + str(pool.parallelism)
        for pool in deployment.pools
    )
    carried = f" over {deployment.kv_network.name}" if deployment.kv_network else ""
    return " + ".join(said) + carried


def settings_line(deployment: Deployment) -> str:
    """Return what is said to the engine, a line for each of two pools."""
    if len(deployment.pools) == 1:
        return _settings(deployment.pools[0].settings)
    return "\n".join(f"{pool.role}: {_settings(pool.settings)}" for pool in deployment.pools)


def _settings(settings: EngineSettings) -> str:
    drafts = f", {settings.speculative_tokens} draft tokens a step" if settings.speculative_tokens else ""
    if drafts and settings.draft_acceptance is not None:
        drafts += f", {settings.draft_acceptance:.0%} of them accepted after others"
    return (
        f"max_num_seqs {settings.max_num_seqs}, max_num_batched_tokens {settings.max_num_batched_tokens}, "
        f"max_model_len {settings.max_model_len_tokens}, memory fraction {settings.memory_fraction:g}"
        f"{', eager' if settings.enforce_eager else ''}{drafts}"
        f"{f', {gib(settings.kv_host_bytes)} GiB of host memory for cache' if settings.kv_host_bytes else ''}"
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
    held = ", ".join(_at_once(ledger, tokens) for tokens in contexts)
    room = ledger.kv_figure
    if room.value <= 0:
        return (f"{ledger.verdict.upper()}: {gib(-room.value)} GiB more are needed on this GPU before any cache", "")
    over = f"; {gib(-ledger.headroom_bytes)} GiB more are taken than the GPU has: lower --memory-fraction"
    return (
        f"{ledger.verdict.upper()}: KV cache {gib(room.value)} GiB [{gib(room.low)}–{gib(room.high)}] = "
        f"{ledger.kv_tokens:,} tokens at {ledger.kv_bytes_per_token:,.0f} B each on this GPU"
        f"{over if ledger.verdict == 'overcommitted' else ''}",
        f"sequences at once: {held}",
        "",
    )


def _at_once(ledger: MemoryLedger, tokens: int) -> str:
    """Return how many sequences are admitted, as engines print it, and how many decode where windows give room back."""
    admitted, held = ledger.concurrency(tokens), ledger.layout.decoding_blocks(tokens)
    decoding = ledger.kv_blocks / held if held else admitted
    more = f" ({decoding:,.1f} once prompts have left their windows)" if decoding > 1.05 * admitted else ""
    return f"{admitted:,.1f} of {tokens:,} tokens{more}"


def served_lines(workload: Workload, given: Prediction) -> tuple[str, ...]:
    """Return what users feel."""
    load = (
        f"{workload.users:,.0f} user{'' if workload.users == 1 else 's'}"
        if workload.users is not None
        else f"{workload.rate_per_s:g} requests/s"
    )
    grown = f" grown × {workload.growth:g}" if workload.growth != 1 else ""
    think = f" + {workload.think_tokens:g} thought" if workload.think_tokens else ""
    full = " SATURATED: more would only wait." if given.saturated else ""
    return (
        f"Load: {load}{grown}, {workload.input_tokens:g} tokens in, {workload.answer_tokens:g} out{think}",
        f"means: TTFT {spread(given.ttft_s)}, TPOT {spread(given.tpot_s)}, E2E {spread(given.e2e_s)}; "
        f"{amount(given.output_tokens_per_s.value)} output tokens/s, "
        f"{given.requests_per_s.value:.3g} requests/s.{full}",
        f"each replica: {given.sequences_per_replica:,.1f} sequences decode at any time of "
        f"{given.most_sequences_per_replica:,.0f} that may",
    )


def step_table(step: StepAccount) -> Table:
    """Return where a decode step's time goes."""
    rows = [
        (
            part.name,
            duration(part.seconds),
            f"{part.seconds / step.total_s * 100:.1f}",
            f"{part.flops / 1e9:,.1f}" if part.flops else "",
            f"{part.hbm_bytes / 1e9:,.3f}" if part.hbm_bytes else "",
            f"{part.link_bytes / 1e6:,.2f}" if part.link_bytes else "",
        )
        for part in step.parts
        if part.seconds
    ]
    rows.append(("total", duration(step.total_s), "100.0", "", "", ""))
    title = f"\nOne decode step: {step.sequences:,.1f} sequences at {step.context_tokens:,.0f} tokens, work of one GPU"
    return table(title, ("part", ">time", ">%", ">GFLOP", ">GB read", ">MB sent"), rows)


def step_line(step: StepAccount) -> str:
    """Return what binds a step and how far above physics it is."""
    waits = ", ".join(f"{name} {seconds / step.total_s * 100:.0f} %" for name, seconds in step.waits if seconds)
    return (
        f"waits for {waits}. Floor {duration(step.floor_s)}: the step takes {step.total_s / step.floor_s:.2f} × what "
        f"the stated rates allow. A prompt of {step.prefill_tokens:,.0f} tokens alone: {duration(step.prefill_s)}"
    )


def materials_table(needs: BillOfMaterials) -> Table:
    """Return what each node needs beside its accelerators."""
    loads = "; ".join(f"{load.storage} {duration(load.cold_s)}" for load in needs.loads)
    memory = f"{gib(needs.host_ram_minimum_bytes)} GiB at least, {gib(needs.host_ram_bytes)} GiB to restart warm"
    rows = [
        ("host memory", memory + ("" if needs.host_has_ram else ": more than this node has")),
        ("CPU cores", f"{needs.cpu_cores}" + ("" if needs.host_has_cores else ": more than this node has")),
        ("disk", f"{gib(needs.disk_bytes)} GiB"),
        ("start, nothing cached", loads),
        ("start, checkpoint in page cache", "; ".join(sorted({duration(load.cached_s) for load in needs.loads}))),
        ("network", needs.network),
        ("power, all nodes", f"{needs.power_w / 1e3:,.2f} kW, {needs.cooling_btu_per_h:,.0f} BTU/h to cool"),
    ]
    return table(f"What each of {needs.nodes} node(s) {needs.node_name} needs", ("need", "amount"), rows)
