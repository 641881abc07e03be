"""Where a command takes a deployment from: MODEL, `--from` or `--plan`, in whatever order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import fill_in, quantity, stack
from sizewell.cli.quantities import COUNT
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sizewell.cli.options import Decorator

SOURCE = "sizewell.plan_source"
FILES = (".json", ".yaml", ".yml", ".toml")
_FROM = "A plan (JSON of `sizewell plan --json`), the number of a kept one, or flags as YAML or TOML."
_SAYING = ("model", "source", "plan", "split")
_PLAN = "The same, of a plan; beside a file: which plan of it [1, the best]."
_SPLIT = "Which of its plans of two pools, as `sizewell plan --split` lists them [none: one of one pool]."


def source_flags(metavar: str, *, needed: bool) -> Decorator:
    """Return the argument that names a model or a plan, and the flags that name a plan, or a split of one."""
    shown = metavar if needed else f"[{metavar}]"
    return stack(
        click.option("--from", "source", metavar="FILE|N", is_eager=True, callback=_file_first, help=_FROM),
        click.option("--plan", metavar="FILE|N", is_eager=True, callback=_file_first, help=_PLAN),
        quantity("--split", COUNT, _SPLIT, is_eager=True, callback=_file_first),
        click.argument("model", metavar=shown, required=False, is_eager=True, callback=_file_first),
    )


def named_model(given: Mapping[str, Any]) -> str:
    """Return the model a command was told of; raises BadInputError where there is none."""
    if given["model"] is None:
        raise BadInputError("no MODEL: name one with --on 8xh200, or give a plan's file or number")
    return str(given["model"])


def _file_first(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Read the plan once all that may name it is known, and give MODEL the model it is of."""
    said = ctx.meta.setdefault(SOURCE, {})
    said[param.name] = value
    if len(said) < len(_SAYING):
        return value
    model = _taken(ctx, said)
    ctx.params["model"] = model
    return model if param.name == "model" else value


def _taken(ctx: click.Context, said: Mapping[str, Any]) -> str | None:
    """Fill in the flags of the plan that is named, and return the model; one given beside it wins."""
    model: str | None = said["model"]
    source, plan, split = said["source"], said["plan"], said["split"]
    if model is not None and names_a_plan(model):
        if source is not None:
            raise BadInputError(f"{model} and --from {source} are two plans: give one of the two")
        model, source = None, model
    if source is None:
        source, plan = plan, None
    if source is None:
        if split is not None:
            raise BadInputError(f"--split {split}: of which plan? give its file or number")
        return model
    from sizewell.cli.plan_file import read_deployment_file

    read = read_deployment_file(source, _which(source, plan), ctx, split)
    fill_in(ctx, read, of_plan=True)
    if model is not None:
        return model
    ctx.set_parameter_source("model", click.core.ParameterSource.DEFAULT_MAP)
    named: str | None = read.get("model")
    return named


def _which(source: str, plan: str | None) -> int:
    if plan is None:
        return 1
    if not plan.isdecimal():
        raise BadInputError(f"--plan {plan} beside {source}: say which plan of it by number, or give one of the two")
    return int(plan)


def names_a_plan(word: str) -> bool:
    """Return whether a word in the place of MODEL names a plan: a file that is no model's, or a kept plan's number."""
    from sizewell.cli.plan_file import is_kept, is_of_a_model

    if not word.lower().endswith(FILES):
        return is_kept(word)
    return Path(word).name != "config.json" and not is_of_a_model(word)
