"""Flags several commands share, and the types they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.foreign_flags import MEANT
from sizewell.cli.quantities import (
    BYTES,
    COUNT,
    DURATION,
    FACTOR,
    FRACTION,
    POWER_KW,
    RATE,
    SHARE,
    SPEED,
    TOKENS,
    USD,
    USERS,
    Measure,
    Quantity,
)
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Slo, Workload

if TYPE_CHECKING:
    from sizewell.cli.questions import Setup

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

ENGINE_HELP = (
    "Engine: vllm, sglang or llama.cpp, with a version or not (vllm@0.19) [vllm where it runs, else llama.cpp]."
)
WORKLOAD_HELP = "YAML or TOML of flags, or a shipped workload."
DEFAULT_USERS = 16
DEFAULT_INPUT_TOKENS = 1000.0
DEFAULT_ANSWER_TOKENS = 500.0

LOAD = ("users", "rate", "input", "answer", "think", "shared_prefix", "growth")
PLANNED_LOAD = "sizewell.planned_load"
"""Where the context of a command keeps which flags of the load a plan has filled in."""


class OnceCommand(click.Command):
    """A command that refuses a flag given twice where one of the two would silently win."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, after a look at what was given how often."""
        try:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        except click.NoSuchOption as error:
            meant = MEANT.get(error.option_name)
            if meant is None or not any(meant in param.opts for param in self.params):
                raise
            said = f"No such option '{error.option_name}'. {ctx.info_name} calls it {meant}."
            raise click.NoSuchOption(error.option_name, said, ctx=ctx) from error
        for param in given:
            once = isinstance(param, click.Option) and not (param.multiple or param.is_flag)
            if once and given.count(param) > 1:
                raise click.UsageError(f"{param.opts[0]} is given twice: give it once", ctx)
        return super().parse_args(ctx, args)


def _file_first(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        from sizewell.cli.workload_file import read_workload_file

        fill_in(ctx, read_workload_file(value, ctx), of_plan=False)
    return value


def fill_in(ctx: click.Context, values: Mapping[str, Any], *, of_plan: bool) -> None:
    """Give flags the values of a plan or of a workload file, which wins; one of the two states the whole load."""
    known = ctx.default_map or {}
    over, under = (known, values) if of_plan else (values, known)
    planned = () if any(word in over for word in LOAD) else tuple(word for word in LOAD if word in under)
    ctx.meta[PLANNED_LOAD] = planned
    ctx.default_map = {**{word: under[word] for word in under if word in planned or word not in LOAD}, **over}


def quantity(flag: str, measure: Measure, text: str, **more: Any) -> Decorator:
    """Return an option that takes a quantity with its unit."""
    return click.option(flag, type=Quantity(measure), help=text, **more)


def stack(*decorators: Decorator) -> Decorator:
    """Return one decorator that applies several, the first of them listed first in --help."""

    def apply(function: Callable[..., None]) -> Callable[..., None]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def as_json() -> Decorator:
    """Return the `--json` switch."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/json-schema.md).")


def assume() -> Decorator:
    """Return the flag that supplies what a config does not say."""
    text = "A fact the config lacks, e.g. num_attention_heads=32; repeat for more. The answer repeats it."
    return click.option("--assume", multiple=True, metavar="KEY=VALUE", help=text)


def workload_flags() -> Decorator:
    """Return the flags that say what is offered."""
    return stack(
        quantity("--users", USERS, "Concurrent users, each sending its next request at once."),
        quantity("--rate", RATE, "Requests per second instead of users: 20/s, 90/min."),
        quantity("--input", TOKENS, f"Prompt tokens per request [{DEFAULT_INPUT_TOKENS:g}]."),
        quantity("--answer", TOKENS, f"Answer tokens per request [{DEFAULT_ANSWER_TOKENS:g}]."),
        quantity("--think", TOKENS, "Tokens generated before the answer (reasoning models) [0]."),
        quantity("--shared-prefix", TOKENS, "Prompt tokens that are the same in every request [0]."),
        quantity("--growth", FACTOR, "Factor the load may grow by and still hold [1]."),
        click.option("--workload", metavar="FILE", is_eager=True, callback=_file_first, help=WORKLOAD_HELP),
    )


def slo_flags() -> Decorator:
    """Return the flags that limit what users feel."""
    return stack(
        quantity("--ttft", DURATION, "Most time to the first generated token."),
        quantity("--ttfa", DURATION, "Most time to the first answer token, after thinking."),
        quantity("--tpot", DURATION, "Most time per output token after the first."),
        quantity("--e2e", DURATION, "Most time to the last token."),
    )


def statistic_flag() -> Decorator:
    """Return the flag that says which value of a distribution limits bind."""
    statistic = click.Choice(["mean", "p50", "p90", "p95", "p99"])
    return click.option(
        "--statistic", type=statistic, default="mean", show_default=True, help="What the limits bind."
    )  # fmt: skip


def distribution_flags() -> Decorator:
    """Return the flags on speed that only a search understands."""
    return stack(
        quantity("--tokens-per-s-per-user", SPEED, "Least generation speed one user sees."),
        statistic_flag(),
    )


def limit_flags() -> Decorator:
    """Return the flags that limit hardware, money and power."""
    return stack(
        click.option("--gpu", multiple=True, metavar="KEY", help="Allow only this accelerator; repeat for more."),
        click.option("--node", multiple=True, metavar="KEY", help="Allow only this kind of node; repeat for more."),
        quantity("--max-nodes", COUNT, "Most nodes [8]."),
        quantity("--max-gpus", COUNT, "Most accelerators."),
        quantity("--max-usd-per-hour", USD, "Most cost of the whole deployment per hour."),
        quantity("--max-usd-per-mtok", USD, "Most cost per million output tokens."),
        quantity("--max-usd-to-buy", USD, "Most price of all nodes, with --prices purchase."),
        quantity("--max-power-kw", POWER_KW, "Most electrical power."),
        quantity("--min-recovery", FRACTION, "Least published accuracy recovery of a weight format."),
    )


def deployment_flags(required: bool = True) -> Decorator:
    """Return the flags that name the hardware of one deployment and how a model is cut over it."""
    where = "Accelerators (8xh200) or full nodes (hgx-h100-8)."
    return stack(
        click.option("--on", "machine", required=required, metavar="8xGPU", help=where),
        quantity("--nodes", COUNT, "Nodes of that kind [as few as hold them]."),
        click.option("--node", metavar="KEY", help="Kind of node, e.g. aws-p5-48xlarge [the usual one]."),
        quantity("--replicas", COUNT, "Copies of the cut [as many as the accelerators hold]."),
        quantity("--tp", COUNT, "Tensor parallel size [all accelerators of a node the heads divide over]."),
        quantity("--pp", COUNT, "Pipeline stages [one per node]."),
        quantity("--dp", COUNT, "Data parallel (attention) size [1]."),
        quantity("--ep", COUNT, "Expert parallel size, TP × DP [1]."),
    )


def format_flags(multiple: bool) -> Decorator:
    """Return the flags that choose formats and the engine."""
    return stack(
        click.option("--weight-format", multiple=multiple, metavar="F", help="Weight format; native = as stored."),
        click.option("--kv-format", multiple=multiple, metavar="F", help="KV cache format; auto = the engine's own."),
        click.option("--engine", metavar="NAME@VERSION", help=ENGINE_HELP),
    )


def settings_flags() -> Decorator:
    """Return the flags that set the engine of one deployment."""
    return stack(
        quantity("--max-num-seqs", COUNT, "Sequences the engine batches at most [its default]."),
        quantity("--max-num-batched-tokens", COUNT, "Tokens of one step at most [its default]."),
        quantity("--max-model-len", COUNT, "Longest sequence [the workload's, else the model's]."),
        quantity("--memory-fraction", SHARE, "Share of accelerator memory the engine takes [its default]."),
        click.option("--enforce-eager", is_flag=True, help="No CUDA graphs."),
        click.option("--by-priority", is_flag=True, help="Serve the lowest priority number first, not who came first."),
        quantity("--speculative-tokens", COUNT, "Draft tokens per step from the model's own prediction layers [0]."),
        quantity("--acceptance", FRACTION, "Share of drafts accepted if those before were [as calibrated]."),
        quantity("--offload-bytes", BYTES, "Weights kept in host memory, per accelerator [0]."),
        quantity("--kv-cache-memory", BYTES, "KV cache of each rank [what the memory fraction leaves]; vLLM only."),
    )


def one_deployment_flags(*, required: bool = True) -> Decorator:
    """Return all flags that state one deployment of a model."""
    return stack(assume(), deployment_flags(required), format_flags(multiple=False), settings_flags())


def setup_of(given: Mapping[str, Any]) -> Setup:
    """Return how one deployment is set up, as its flags say; not every command has those of pools and caches."""
    from sizewell.catalog.hardware import read_link
    from sizewell.cli.questions import Setup, machine
    from sizewell.planner.stated import Stated
    from sizewell.specs.deployment import Formats

    stated = Stated(
        tp=given["tp"],
        pp=given["pp"],
        dp=given["dp"],
        ep=given["ep"],
        replicas=given["replicas"],
        max_num_seqs=given["max_num_seqs"],
        max_num_batched_tokens=given["max_num_batched_tokens"],
        max_model_len_tokens=given["max_model_len"],
        memory_fraction=given["memory_fraction"],
        enforce_eager=given["enforce_eager"],
        by_priority=given["by_priority"],
        offload_bytes=given["offload_bytes"] or 0.0,
        speculative_tokens=given["speculative_tokens"] or 0,
        draft_acceptance=given["acceptance"],
        pin_prefixes=given.get("pin_prefixes", False),
        kv_host_bytes=given.get("kv_host_memory") or 0.0,
        kv_cache_bytes=given["kv_cache_memory"] or 0.0,
        prefill=given.get("prefill"),
        decode=given.get("decode"),
        kv_network=read_link(given["kv_network"]) if given.get("kv_network") else None,
        decode_on=machine(given["decode_on"]) if given.get("decode_on") else None,
    )
    formats = Formats(weight=given["weight_format"] or "native", kv=given["kv_format"] or "auto")
    return Setup(engine=given["engine"] or "auto", formats=formats, stated=stated)


def workload_of(ctx: click.Context, given: Mapping[str, Any]) -> Workload:
    """Return the workload the flags describe; a load given as a flag replaces one from the file.

    Raises BadInputError when users and rate are both given in one place, or a value is out of range.
    """
    users, rate = given["users"], given["rate"]
    if users is not None and rate is not None:
        users, rate = _flag_over_file(ctx, users, rate)
    if users is None and rate is None:
        users = DEFAULT_USERS
    return Workload(
        input_tokens=_or(given["input"], DEFAULT_INPUT_TOKENS),
        answer_tokens=_or(given["answer"], DEFAULT_ANSWER_TOKENS),
        think_tokens=_or(given["think"], 0.0),
        shared_prefix_tokens=_or(given["shared_prefix"], 0.0),
        growth=_or(given["growth"], 1.0),
        users=users,
        rate_per_s=rate,
    )


def _flag_over_file(ctx: click.Context, users: float, rate: float) -> tuple[float | None, float | None]:
    source = click.core.ParameterSource.COMMANDLINE
    spoken = [ctx.get_parameter_source(name) == source for name in ("users", "rate")]
    if spoken == [True, False]:
        return users, None
    if spoken == [False, True]:
        return None, rate
    raise BadInputError(f"--users {users:g} and --rate {rate:g}/s contradict each other: give one of the two")


def slo_of(given: Mapping[str, Any]) -> Slo:
    """Return the limits on what users feel."""
    return Slo(
        ttft_s=given["ttft"],
        ttfa_s=given["ttfa"],
        tpot_s=given["tpot"],
        e2e_s=given["e2e"],
        statistic=given.get("statistic", "mean"),
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
