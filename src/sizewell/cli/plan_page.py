"""What `sizewell plan` prints for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sizewell.cli.explain_page import deployment_line, model_line, settings_line
from sizewell.cli.output import amount, console, duration, gib, show, spread, table
from sizewell.cli.rehearsal_text import rehearsal_lines
from sizewell.planner.nearest import GATES

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.planner.bill_of_materials import BillOfMaterials
    from sizewell.planner.offload import Placement
    from sizewell.planner.plan import Answer, BreakEven, Plan, Rejection

NEAREST = 5
"""Rejections shown without --explain."""
FRONTIER = 6
"""Points of the frontier shown without --explain."""


def show_answer(answer: Answer, *, everything: bool, restated: str = "") -> None:
    """Print an answer: the plans, the best one in words, what was rejected, what decided it, how to state it again."""
    show(model_line(answer.question.model), "")
    if answer.plans:
        best = answer.plans[0]
        show(plans_table(answer.plans), *best_lines(best), *detail_lines(best), "")
        show(*frontier_table(answer.frontier, everything=everything))
    else:
        alone = " OF ONE POOL" if answer.split and answer.split.plans else ""
        show(f"NO PLAN{alone} HOLDS under these limits.", "")
    show(*rejection_lines(answer.rejections, everything), "")
    if everything and answer.frontier:
        show("Frontier: nothing beats these on both speed per user and cost per token", plans_table(answer.frontier))
    show(f"{answer.candidates:,} candidates. What decides this answer:")
    show(*(f"- {reason}" for reason in answer.decided_by))
    show_restated("The best plan line by line:", restated)


def show_restated(head: str, command: str) -> None:
    """Print a command that is there to be copied; nothing where there is none."""
    if command:
        show("", head)
        console().print(command, soft_wrap=True)


def plans_table(plans: Sequence[Plan]) -> Table:
    """Return the plans by rank."""
    heads = ("", "|accelerators", "cut", "weights", ">TTFT", ">TPOT", ">tok/s", ">USD/h", ">USD/Mtok")
    return table("", heads, [_row(rank, plan) for rank, plan in enumerate(plans, start=1)])


def _row(rank: int, plan: Plan) -> tuple[str, ...]:
    pool = plan.deployment.pools[0]
    copies = f"{pool.replicas} × " if pool.replicas > 1 else ""
    return plan_cells(rank, plan, f"{copies}{pool.parallelism}")


def plan_cells(rank: int, plan: Plan, *cuts: str) -> tuple[str, ...]:
    """Return the cells of a plan in a table by rank; `cuts` says how its pools are cut."""
    service, cost = plan.service, plan.cost
    return (
        str(rank),
        f"{plan.gpus} × {plan.deployment.cluster.gpu.key}",
        *cuts,
        plan.deployment.weight_format,
        duration(service.ttft_s.value),
        duration(service.tpot_s.value),
        amount(service.output_tokens_per_s.value),
        usd(cost.usd_per_hour) + ("*" if cost.estimate and cost.usd_per_hour is not None else ""),
        usd(cost.usd_per_million_output_tokens),
    )


def usd(value: float | None) -> str:
    """Return an amount of money; a dash where nobody's price is known."""
    return "–" if value is None else f"{value:,.2f}"


def best_lines(plan: Plan, name: str = "BEST") -> tuple[str, ...]:
    """Return the best plan in words; of two pools, the memory is that of one that decodes."""
    service, memory = plan.service, plan.memory
    gpu = "decode GPU" if plan.pool_use else "GPU"
    month = plan.cost.usd_per_month
    price = "no price is known" if month is None else f"{month:,.0f} USD a month ({plan.cost.source})"
    if plan.cost.service_units_per_hour is not None:
        price += f"; {plan.cost.service_units_per_hour:,.0f} service units an hour"
    quality = "unknown" if plan.recovery_fraction is None else f"{plan.recovery_fraction:.1%}"
    return (
        f"{name}: {deployment_line(plan.deployment)}",
        settings_line(plan.deployment),
        f"TTFT {spread(service.ttft_s)}, TPOT {spread(service.tpot_s)}, E2E {spread(service.e2e_s)}; "
        f"{amount(service.tokens_per_s_per_user)} tokens/s per user; bound by {service.bound_by}",
        f"memory of one {gpu}: weights {gib(memory.weight_bytes)}, other {gib(memory.other_bytes)}, KV cache "
        f"{gib(memory.kv_bytes)} GiB{_held(plan)}",
        *(rehearsal_lines(plan.rehearsal) if plan.rehearsal else ()),
        price,
        f"accuracy kept: {quality} ({plan.recovery_source.partition(';')[0]})",
    )


def _held(plan: Plan) -> str:
    """Return what the cache of a replica holds; ranks of data-parallel attention have one each."""
    memory, ranks = plan.memory, plan.deployment.pools[-1].parallelism.dp
    said = f"{memory.kv_tokens:,.0f} tokens, {memory.max_concurrency:,.0f} full requests"
    return f" = {said}" if ranks == 1 else f"; on {ranks} data-parallel ranks {said}"


def detail_lines(plan: Plan) -> Iterator[str]:
    """Return what the nodes of a plan need, what a burst does, what buying would mean, and what lies in host memory."""
    details = plan.details
    if details is None:
        return
    needs, pays = details.materials, details.break_even
    starts = ", ".join(f"{duration(load.cold_s)} from {load.storage}" for load in needs.loads)
    warm_start = duration(min(load.cached_s for load in needs.loads)) if needs.loads else "–"
    warm = f"{gib(needs.host_ram_bytes)} to restart warm"
    yield (
        f"each node: host memory {gib(needs.host_ram_minimum_bytes)} GiB ({warm}), "
        f"{needs.cpu_cores} CPU cores, disk {gib(needs.disk_bytes)} GiB; a start takes {starts}, "
        f"{warm_start} from the page cache"
    )
    yield f"network: {needs.network}; {_power(plan.cost.power_w, needs)}"
    yield f"all users at once on an idle server: first token after {spread(details.burst_ttft_s)} on average"
    if pays is not None:
        idle = plan.deployment.cluster.gpus - plan.deployment.gpus
        rented = f"all {plan.deployment.cluster.gpus} accelerators" if idle else "them"
        after = "stays cheaper" if pays.months is None else f"for {pays.months:.0f} months costs as much"
        yield (
            f"buying these nodes: {pays.capital_usd:,.0f} USD{_bought(pays)}; renting {rented} around the clock {after}"
        )
    if details.placement is not None:
        yield _placement_line(details.placement)


def _bought(pays: BreakEven) -> str:
    """Return what a capital covers: the cards alone, or how much of it stands around them."""
    around = ", accelerators alone"
    if pays.machine_known:
        around = f", {pays.host_usd:,.0f} of it for what is around the cards" if pays.host_usd else ""
    return around + (", estimated" if pays.estimate else "")


def _power(counted_w: float, needs: BillOfMaterials) -> str:
    whole = f"whole nodes draw up to {needs.power_w / 1e3:.1f} kW, {needs.cooling_btu_per_h:,.0f} BTU/h to cool"
    if abs(counted_w - needs.power_w) < 0.01 * needs.power_w:
        return whole
    return f"{whole}; limits on power count {counted_w / 1e3:.1f} kW, the share of the accelerators in use"


def _placement_line(placed: Placement) -> str:
    moved = ", ".join(f"{each.group} of the first {each.layers} of {each.of_layers} layers" for each in placed.moved)
    does = "brings them over at every step" if placed.engine_does == "streams" else "computes with them there"
    return (
        f"in host memory: {moved} ({gib(placed.bytes)} GiB a GPU), this engine {does}; one user gets at most "
        f"{placed.streamed_tokens_per_s:.1f} tokens/s streaming what a token touches, "
        f"{placed.computed_tokens_per_s:.1f} computing it on the host"
    )


def frontier_table(plans: Sequence[Plan], *, everything: bool) -> Iterator[Table]:
    """Return the trade of speed against cost: nothing else is better in both."""
    step = 1 if everything else max(1, -(-len(plans) // FRONTIER))
    chosen = [*plans[:-1:step], *plans[-1:]]
    if len(chosen) > 1:
        heads = (">tok/s/user", ">USD/Mtok", "|accelerators", "cut", "weights")
        rows = [
            (
                amount(plan.service.tokens_per_s_per_user),
                usd(plan.cost.usd_per_million_output_tokens),
                f"{plan.gpus} × {plan.deployment.cluster.gpu.key}",
                f"{plan.deployment.pools[0].replicas} × {plan.deployment.pools[0].parallelism}",
                plan.deployment.weight_format,
            )
            for plan in chosen
        ]
        yield table(f"Speed against cost: {len(chosen)} of {len(plans)} plans nothing beats in both", heads, rows)


def rejection_lines(rejections: Sequence[Rejection], everything: bool) -> Iterator[str]:
    """Return the rejected families: how many at which gate, and the reasons (all, or of those that came furthest)."""
    if not rejections:
        return
    gates = ", ".join(f"{count} by {gate}" for gate, count in Counter(one.gate for one in rejections).most_common())
    yield f"{len(rejections)} {'family' if len(rejections) == 1 else 'families'} rejected: {gates}"
    furthest_first = sorted(rejections, key=lambda one: -GATES.index(one.gate))
    shown = furthest_first if everything else furthest_first[:NEAREST]
    yield from (f"- {one.family}: {one.reason}" for one in shown)
    if len(shown) < len(rejections):
        yield f"- … {len(rejections) - len(shown)} more with --explain"
