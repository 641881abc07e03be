"""What the time of a replica goes to by the cost model: each cause with its share and figures."""

from __future__ import annotations

from sizewell.advisor.case import Case, Finding, Label, ms
from sizewell.advisor.pace import Pace
from sizewell.costs.step_policy import StepPolicy

SHOWN = 0.1
"""Share of the time from which a cause is worth a line."""


FEW_ROWS, STILL_FREE = 0.1, 0.25
"""MFU below which arithmetic that takes the most time is that of kernels with few rows, as experts have; and the gain
of twice as many at once from which those only pass weights by, so that fewer bytes or more rows would help.
"""


def causes(case: Case) -> list[Finding]:
    """Return what a replica's time goes to by the cost model, the longest first."""
    pace = case.pace
    if pace is None:
        return []
    seconds = dict(pace.causes)
    if case.eager_s:
        # Messages are late where hosts issue every kernel: what graphs would save is one cause, wherever it shows.
        seconds["host/launch overhead"] = max(seconds["host/launch overhead"], case.eager_s)
    if _passes_weights_by(case, pace):
        seconds["weights bandwidth"] += seconds.pop("decode compute")
    found = []
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        share = spent / pace.cycle_s
        if share >= SHOWN:
            found.append(_cause(case, name, share, pace))
    return found


def _passes_weights_by(case: Case, pace: Pace) -> bool:
    """Whether what matrices take to compute is the way of a kernel with hardly a row through its weights."""
    return _few_rows(pace) and (case.more_at_once or 0.0) >= STILL_FREE


def _few_rows(pace: Pace) -> bool:
    return pace.mfu < FEW_ROWS and pace.mfu < pace.mbu and pace.causes["decode compute"] > 0


def _cause(case: Case, name: str, share: float, pace: Pace) -> Finding:
    label: Label = name  # type: ignore[assignment]
    lines = [f"{share:.0%} of the {ms(pace.cycle_s)} each token takes, {pace.sequences:,.1f} sequences on each replica"]
    lines += _offloaded(case) if name == "offloaded weights" else _details(case, name, pace)
    if name == "decode attention" and case.replicates_latents:
        lines.append("every tensor-parallel rank reads the whole latent cache")
        label = "replicated MLA KV"
    return Finding(label=label, share=share, evidence=tuple(lines))


def _details(case: Case, name: str, pace: Pace) -> list[str]:
    if name in ("weights bandwidth", "decode compute"):
        few = ": kernels of few rows reach little" if _few_rows(pace) else ""
        return [
            f"memory moves {pace.mbu:.0%} of its stated rate, arithmetic {pace.mfu:.1%}{few}",
            *_waiting_stages(case),
        ]
    if name == "decode attention" and case.mix is not None:
        return [f"each sequence reads {case.mix.context_tokens:,.0f} tokens of cache for each token"]
    if name == "prefill compute" and case.mix is not None:
        return [f"{case.mix.computed_tokens:.2g} prompt tokens are computed for each token generated"]
    if name == "host/launch overhead" and case.eager_s:
        return [f"hosts issue every kernel (eager): {ms(case.eager_s)} of it, small operations and messages among them"]
    if name == "interconnect":
        late, wire = (pace.waits.get(each, 0.0) for each in ("link latency", "link"))
        return [f"messages wait {ms(late)} for each other and travel {ms(wire)}{_span(case)}"]
    return []


def _waiting_stages(case: Case) -> list[str]:
    if case.deployment is None:
        return []
    pool = case.deployment.pools[-1]
    under_way = StepPolicy.of(pool.settings, case.deployment.engine).under_way(pool.parallelism)
    if under_way >= (stages := pool.parallelism.pp):
        return []
    return [f"{under_way} batch at a time passes through {stages} stages, which wait for one another"]


def _offloaded(case: Case) -> list[str]:
    if case.deployment is None:
        return []
    moved = case.deployment.pools[-1].settings.offload_bytes / 2**30
    used = {"computes": "computes with where they lie", "streams": "brings over at every step"}
    how = used[case.deployment.engine.offload]
    return [f"{moved:,.4g} GiB of weights for each GPU lie in host memory, which this engine {how}"]


def _span(case: Case) -> str:
    if case.deployment is None:
        return ""
    cut, cluster = case.deployment.pools[-1].parallelism, case.deployment.cluster
    nodes = -(-cut.tp * cut.dp // cluster.gpus_per_node)
    return (
        f", over {nodes} nodes by {cluster.node.scale_out.name}" if nodes > 1 else f", by {cluster.node.scale_up.name}"
    )
