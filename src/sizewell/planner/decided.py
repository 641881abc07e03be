"""What decides an answer besides the numbers asked: the readings another tool would choose differently, said aloud."""

from __future__ import annotations

from collections.abc import Sequence

from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import USABLE_RATE
from sizewell.planner.facts import Facts
from sizewell.planner.plan import Plan
from sizewell.planner.question import Question
from sizewell.planner.stated import usual_model_length
from sizewell.planner.weight_choice import published_weight_formats, usual_weight_formats


def decided_by(question: Question, facts: Facts, plans: Sequence[Plan]) -> tuple[str, ...]:
    """Return one sentence for each reading that would change the answer."""
    return (
        _quantization(question),
        *_unlimited(question),
        _statistic(question),
        *_risk(question, plans),
        f"Simulation: the plans by rank{_counted(question)}, and pipelines on the frontier, were played request by "
        "request; the rest of the frontier is in closed form, which splits the wait for prompts between TTFT and TPOT "
        "more roughly.",
        _load(question),
        _prices(question, plans),
        _engine(facts),
        *_calibrations(facts),
        _context(question),
        *(f"Assumed: {fact}" for fact in question.model.assumed),
    )


def _calibrations(facts: Facts) -> tuple[str, ...]:
    """Name the user's own, where there are any."""
    own = dict.fromkeys(name for names in facts.efficiencies.owned.values() for name in names)
    return (f"Calibrations: {', '.join(own)}, of your catalogue, on the machines they are about.",) if own else ()


def _counted(question: Question) -> str:
    """Say that replicas are the fewest in play, where they are."""
    counted = question.workload.users is not None and question.objective != "fastest"
    return ", with the fewest replicas seen to hold" if counted else ""


def _quantization(question: Question) -> str:
    more = _more_formats(question)
    if not question.quantization_allowed:
        return f"Quantization: none, only the checkpoint's own format ({question.model.weight_format}) was tried{more}."
    floor = question.limits.min_recovery_fraction
    kept = "without a floor on quality" if floor is None else f"with at least {floor:.1%} published recovery"
    return f"Quantization: allowed among {', '.join(question.weight_formats)}, {kept}{more}."


def _more_formats(question: Question) -> str:
    """Say which flag allows the formats with published results that were not tried."""
    untried = [name for name in published_weight_formats(question.model) if name not in question.weight_formats]
    if question.weight_formats != usual_weight_formats(question.model) or not untried:
        return ""
    return f"; --quantize, or a floor such as --min-recovery 95%, tries {', '.join(untried)} too"


def _unlimited(question: Question) -> tuple[str, ...]:
    """Say that nothing was asked of speed where that is what decides."""
    limits = question.limits
    slo = limits.slo
    if limits.tpot_s or slo.ttft_s or slo.ttfa_s or slo.e2e_s or question.objective in ("fastest", "fewest-gpus"):
        return ()
    return ("Speed: no limit was stated, so what is cheapest may be slow; --ttft and --tpot bound it.",)


def _statistic(question: Question) -> str:
    statistic = question.limits.slo.statistic
    if statistic == "mean":
        return "Limits bind the mean over requests in steady state; a burst of all users at once waits longer."
    return (
        f"Limits bind the {statistic} over requests in steady state, as simulated with prompts and answers of the "
        "stated lengths; more varied ones spread it further: see sizewell simulate."
    )


def _risk(question: Question, plans: Sequence[Plan]) -> tuple[str, ...]:
    """Say how many plans keep their limits at the middle of an interval and miss one at its pessimistic end."""
    demand = Demand.of(question)
    risky = [plan for plan in plans if not _keeps_all(plan, demand)]
    if not risky:
        return ()
    which = "the best plan" if plans[0] in risky else "a plan further down"
    return (
        f"Certainty: {len(risky)} of {len(plans)} plans ({which} among them) miss a limit at the pessimistic end of "
        "their interval; ask for a tighter limit, or measure, before buying.",
    )


def _keeps_all(plan: Plan, demand: Demand) -> bool:
    service = plan.service
    pairs = (
        (service.ttft_s, demand.ttft_s), (service.ttfa_s, demand.ttfa_s),
        (service.tpot_s, demand.tpot_s), (service.e2e_s, demand.e2e_s),
    )  # fmt: skip
    return all(figure.high <= bound for figure, bound in pairs)


def _load(question: Question) -> str:
    work = question.workload
    growth = f", times {work.growth:g} for growth" if work.growth != 1 else ""
    if work.users is not None:
        return f"Load: {_users(work.users)} the next request at once{growth} (a closed loop)."
    share = f"at most {USABLE_RATE:.0%} of a replica's rate is used"
    return f"Load: {work.rate_per_s:g} requests/s arriving independently{growth}, which replicas take in turn; {share}."


def _users(count: float) -> str:
    return "1 user who sends" if count == 1 else f"{count:,.0f} users who each send"


def _prices(question: Question, plans: Sequence[Plan]) -> str:
    how = {
        "purchase": "machines are bought whole, written off, powered and housed",
        "on-demand": "rent is paid for the accelerators in use, around the clock, at the median listed price",
    }.get(question.price_basis, "rent is paid for the accelerators in use at the median listed price of that term")
    guessed = sorted({plan.deployment.cluster.gpu.key for plan in plans if plan.cost.estimate})
    caution = f"; estimates, not listed prices, for {', '.join(guessed)}" if guessed else ""
    on_host = any(plan.deployment.pools[0].settings.offload_bytes for plan in plans)
    if on_host and question.price_basis != "purchase":
        caution += "; with the host memory weights need, a machine may cost more (--prices purchase counts it)"
    return f"Prices: {question.price_basis}; {how}{caution}."


def _engine(facts: Facts) -> str:
    versions = ", then ".join(f"{name} {engine.version}" for name, engine in facts.engines.items())
    notes = "".join(f" ({engine.note})" for engine in facts.engines.values() if engine.note)
    return f"Engine: {versions}{notes}; memory follows that version, speed its generation."


def _context(question: Question) -> str:
    length = usual_model_length(question.model, question.workload)
    return (
        f"Context: engines start with {length:,} tokens, less where the cache holds no such sequence; on average a "
        "request is half way through its output, and so many are counted into the cache."
    )
