"""Writes docs/exercise.md: the sizing exercise of the source documents, answered for every R1 distill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from textwrap import fill

from sizewell.catalog.planner_facts import read_facts
from sizewell.planner.facts import Facts
from sizewell.planner.plan import Answer, Plan
from sizewell.planner.question import Limits, Objective, Question
from sizewell.planner.search import answer
from sizewell.specs.figure import Figure
from sizewell.specs.model import ModelSpec
from sizewell.traffic.workload import Slo, Workload
from tools.docs.evaluators.deployments import model_of
from tools.docs.evaluators.memory import kv_per_token, weights_of
from tools.docs.evaluators.steps import Step, decode_step
from tools.docs.exercise_text import CANNOT, FITTING, GLANCE, HEAD, NEEDS
from tools.docs.units import digits, shown

DISTILLS = (
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
)
USERS = 10
ENGINE = "vllm"
LIMIT_S = 2.0
EVERY_GPU = 1000
"""Plans asked of a search, one for each accelerator: more than there are."""
INPUT_TOKENS, THINK_TOKENS, ANSWER_TOKENS = 1000, 1000, 48
PACKED = "awq-int4"
QUANTIZED = ("native", "fp8", "int8", PACKED)
FORMATS = {"16 bits": ("native",), "quantization allowed": QUANTIZED}
CHAIN = Slo(ttfa_s=LIMIT_S)
FIRST_TOKEN = Slo(ttft_s=LIMIT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One distill under one reading of the question."""

    model: str
    formats: str
    slo: Slo
    objective: Objective = "fewest-gpus"


def render() -> str:
    """Return the whole document as Markdown."""
    facts, rate = _facts(), THINK_TOKENS / LIMIT_S
    glance = GLANCE.format(limit=LIMIT_S, rate=rate, loose=_at_a_glance(FIRST_TOKEN), strict=_at_a_glance(CHAIN))
    head = HEAD.format(
        machines=len(facts.machines), gpus=len({machine.gpu.key for machine in facts.machines}), users=USERS,
        input=INPUT_TOKENS, think=THINK_TOKENS, answer=ANSWER_TOKENS, limit=LIMIT_S, rate=rate,
        glance=fill(glance, 118),
    )  # fmt: skip
    needed = NEEDS.format(
        users=USERS, context=_load().context_tokens, limit=LIMIT_S, tpot=_tpot_s() * 1e3,
        think=THINK_TOKENS, rows="".join(map(needs, DISTILLS)), **_one_gpu(),
    )  # fmt: skip
    strict = FITTING.format(title="Chain within 2 s", rows=_answers(CHAIN), short=_in_short(CHAIN))
    loose = FITTING.format(title="First token within 2 s", rows=_answers(FIRST_TOKEN), short=_in_short(FIRST_TOKEN))
    return head + needed + strict + CANNOT.format(rows=_without_plan(), limit=LIMIT_S, think=THINK_TOKENS) + loose


@cache
def _facts() -> Facts:
    return read_facts(ENGINE)


def _load() -> Workload:
    return Workload(
        input_tokens=INPUT_TOKENS, think_tokens=THINK_TOKENS, answer_tokens=ANSWER_TOKENS, users=float(USERS)
    )


def _tpot_s() -> float:
    return LIMIT_S / THINK_TOKENS


@cache
def _search(asked: Asked) -> Answer:
    question = Question(
        model=model_of(asked.model),
        workload=_load(),
        limits=Limits(slo=asked.slo),
        objective=asked.objective,
        weight_formats=FORMATS[asked.formats],
    )
    return answer(question, _facts(), top=EVERY_GPU if asked.objective == "fewest-gpus" else 1)


def needs(name: str) -> str:
    """Return the row of what a distill needs whatever the GPU."""
    model = model_of(name)
    cells = (
        _short(model),
        shown(model.text_parameters, "parameters"),
        shown(weights_of(name, "bf16"), "bytes"),
        shown(weights_of(name, PACKED), "bytes"),
        shown(_cached_bytes(model), "bytes"),
        shown(_read_bytes_per_s(name, "bf16"), "bytes_per_s"),
        shown(_read_bytes_per_s(name, PACKED), "bytes_per_s"),
        shown(2 * model.active_parameters * USERS / _tpot_s(), "flops_per_s"),
    )
    return _row(cells)


def _cached_bytes(model: ModelSpec) -> float:
    return USERS * _load().context_tokens * kv_per_token(model, "auto")


def _read_bytes_per_s(name: str, weight_format: str) -> float:
    return (weights_of(name, weight_format) + _cached_bytes(model_of(name))) / _tpot_s()


def _one_gpu() -> dict[str, str]:
    """Return which distills the fastest memory reads in time, as words."""
    gpu = max((machine.gpu for machine in _facts().machines), key=lambda card: card.bytes_per_s)

    def fitting(weight_format: str) -> str:
        names = [name for name in DISTILLS if _read_bytes_per_s(name, weight_format) <= gpu.bytes_per_s]
        return ", ".join(_short(model_of(name)) for name in names) or "none"

    return {
        "fastest": shown(gpu.bytes_per_s, "bytes_per_s"),
        "gpu": gpu.name,
        "fits_plain": fitting("bf16"),
        "fits_packed": fitting(PACKED),
    }


def _answers(slo: Slo) -> str:
    asked = [Asked(model=name, formats=formats, slo=slo) for name in DISTILLS for formats in FORMATS]
    return "".join(map(answered, asked))


def _in_short(slo: Slo) -> str:
    """Return which distills have a plan, for each set of formats."""

    def sentence(formats: str) -> str:
        asked = ((name, Asked(model=name, formats=formats, slo=slo)) for name in DISTILLS)
        able = [_short(model_of(name)) for name, each in asked if _search(each).plans]
        counted = "every distill" if len(able) == len(DISTILLS) else ", ".join(able) or "none"
        return f"{formats}: {counted}"

    return "Possible with " + "; with ".join(map(sentence, FORMATS)) + "."


def _at_a_glance(slo: Slo) -> str:
    """Return the fewest accelerators for each set of formats as one clause."""

    def clause(formats: str) -> str:
        found = {name: _search(Asked(model=name, formats=formats, slo=slo)).plans for name in DISTILLS}
        able = {_short(model_of(name)): _fewest(plans) for name, plans in found.items() if plans}
        if len(able) == len(DISTILLS) and {plan.gpus for plan in able.values()} == {1}:
            return "one accelerator is enough for any distill"
        return (
            ", ".join(f"{n} on {p.gpus} × {p.deployment.cluster.gpu.name}" for n, p in able.items())
            or "nothing does it"
        )

    said = {formats: clause(formats) for formats in FORMATS}
    if len(set(said.values())) == 1:
        return f"{next(iter(said.values()))}, quantized or not"
    return "; ".join(f"with {formats} {words}" for formats, words in said.items())


def _fewest(plans: Sequence[Plan]) -> Plan:
    """Return the cheapest of the plans with the fewest accelerators; a plan without a price comes last."""
    return min(plans, key=lambda plan: (plan.gpus, plan.cost.usd_per_hour or inf))


def answered(asked: Asked) -> str:
    """Return the row that answers one distill under one reading."""
    plans = _search(asked).plans
    start = (_short(model_of(asked.model)), asked.formats)
    if not plans:
        return _row((*start, "nothing does it", "", "", ""))
    plan = _fewest(plans)
    service = plan.service
    waited = service.ttfa_s if asked.slo is CHAIN else service.ttft_s
    felt = f"{_seconds(waited)}, then {service.tokens_per_s_per_user:,.0f} tok/s each"
    price = "unknown" if plan.cost.usd_per_hour is None else f"{plan.cost.usd_per_hour:,.2f}"
    return _row((*start, f"{plan.gpus} × {plan.deployment.cluster.gpu.name}", _cut(plan), felt, price))


def _without_plan() -> str:
    failing = [
        Asked(model=name, formats=formats, slo=CHAIN)
        for name in DISTILLS
        for formats in FORMATS
        if not _search(Asked(model=name, formats=formats, slo=CHAIN)).plans
    ]
    return "".join(map(_fastest, failing))


def _fastest(asked: Asked) -> str:
    found = _search(Asked(model=asked.model, formats=asked.formats, slo=Slo(), objective="fastest")).plans
    start = (_short(model_of(asked.model)), asked.formats)
    if not found:
        return _row((*start, "nothing holds it", "", "", ""))
    plan = found[0]
    step = _decode(plan)
    bytes_s = THINK_TOKENS * step.hbm_bytes / plan.deployment.cluster.gpu.bytes_per_s
    waits = f"bandwidth would do; the step waits for {plan.service.bound_by}"
    why = "no number physics allows there" if bytes_s > LIMIT_S else waits
    where = f"{plan.gpus} × {plan.deployment.cluster.gpu.name}, {_cut(plan)}"
    chain = _seconds(plan.service.ttfa_s)
    return _row((*start, where, chain, f"{digits(bytes_s)} s", why))


def _decode(plan: Plan) -> Step:
    sequences = max(1, round(plan.service.concurrency_per_replica))
    return decode_step(plan.deployment, sequences, INPUT_TOKENS + THINK_TOKENS // 2)


def _seconds(figure: Figure) -> str:
    return f"{digits(figure.value)} s ({digits(figure.low, 2)}–{digits(figure.high, 2)})"


def _cut(plan: Plan) -> str:
    pool = plan.deployment.pools[0]
    many = f"{pool.replicas} replicas of " if pool.replicas > 1 else ""
    return f"{many}{pool.parallelism}, {plan.deployment.weight_format}"


def _short(model: ModelSpec) -> str:
    return model.name.rpartition("/")[2].removeprefix("DeepSeek-R1-Distill-")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
