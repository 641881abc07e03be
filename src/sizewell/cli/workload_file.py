"""Workload files: the flags of a command as YAML or TOML, refused with file, line and the nearest name.

A file holds the long flags of the command, `_` or `-` between words: `users: 64`, `ttft: 2s`, `gpu: [h200, h100]`.
Flags given on the command line win. Its section `traffic` says what flags cannot (docs/traffic.md): the flags then get
its means, and `offered_traffic` the whole. A shipped file is given by its name: `--workload azure-2023-code`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sizewell.catalog.workloads import workload_path
from sizewell.cli.output import talk
from sizewell.specs.errors import BadInputError, nearest_names

MOST_BYTES = 1 << 20
MOST_DEEP = 6
MOST_IN_A_LIST = 100
TRAFFIC = "traffic"
_NOT_IN_FILES = frozenset({"workload", "as_json", "explain"})


def read_workload_file(path: str, ctx: click.Context, others: Sequence[click.Command] = ()) -> dict[str, Any]:
    """Return the file's values by parameter name of the command being run, each checked as its flag would be.

    What only a plan asks for (`max_nodes`, `objective`), or one of the `others`, is checked too, and left out for this
    command: one file serves all.

    Raises BadInputError naming file, line and key for an unknown key, a key given twice, or a value out of range.
    """
    from sizewell.cli.plan import command as plan_command  # the plan's module imports the flags, and they this one

    file = workload_path(path)
    path, text = str(file), _text(file)
    values, lines = _parse_toml(path, text) if path.lower().endswith(".toml") else _parse_yaml(path, text)
    values, lines = _with_means(path, values, lines, ctx) if TRAFFIC in values else (values, lines)
    spoken = _keys(ctx.command)
    elsewhere = {word: param for other in (*others, plan_command) for word, param in _keys(other).items()}
    found: dict[str, Any] = {}
    for key, value in values.items():
        place = _place(path, lines, key)
        word = key.lower().replace("-", "_")
        param = spoken.get(word) or elsewhere.get(word)
        if param is None:
            raise BadInputError(f"{place}: unknown key{_guess(key, {**elsewhere, **spoken} if others else spoken)}")
        checked = _checked(place, param, value, ctx)
        if word in spoken:
            found[str(param.name)] = checked
    return found


def _with_means(
    path: str, values: dict[str, Any], lines: dict[str, int], ctx: click.Context
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the flags with the means of the traffic section among them, and keep the section for `offered_traffic`."""
    from sizewell.cli.tables import Table
    from sizewell.cli.traffic_section import MEANT, read_section

    section = Table(lambda key: _place(path, lines, key), TRAFFIC, values[TRAFFIC])
    stated = read_section(section, Path(path).parent)
    means = stated.means()
    flags = {key: value for key, value in values.items() if key != TRAFFIC}
    spoken = {key.lower().replace("-", "_"): key for key in flags}
    for word in (*means, *(("users", "rate") if stated.arrivals else ())):
        if word in spoken:
            place = _place(path, lines, spoken[word])
            raise BadInputError(f"{place}: the section {TRAFFIC} says this already: keep one of the two")
    ctx.meta[MEANT] = stated
    if stated.left_out and "requests" not in _keys(ctx.command):
        talk(f"{path}: {stated.left_out}")
    return flags | {key: f"{value:.12g}" for key, value in means.items()}, lines


def _place(path: str, lines: Mapping[str, int], key: str) -> str:
    """Return file, line and key; in TOML the line of a nested key is that of its last word's first mention."""
    return f"{path}:{lines.get(key) or lines.get(key.rpartition('.')[2]) or lines.get(TRAFFIC, 1)}: {key}"


def _keys(command: click.Command) -> dict[str, click.Parameter]:
    return {_spoken(param): param for param in command.params if param.name and param.name not in _NOT_IN_FILES}


def _spoken(param: click.Parameter) -> str:
    """Return the name a user knows: the long flag without its dashes."""
    longest = max((opt for opt in param.opts if opt.startswith("--")), key=len, default=str(param.name))
    return longest.lstrip("-").replace("-", "_")


def _guess(key: str, known: Mapping[str, object]) -> str:
    near = nearest_names(key.replace("-", "_"), known)
    return f"; did you mean {', '.join(near)}?" if near else f"; there are {', '.join(sorted(known))}"


def _checked(place: str, param: click.Parameter, value: Any, ctx: click.Context) -> Any:
    if isinstance(param, click.Option) and param.is_flag:
        return _switch(place, value)
    values = value if param.multiple and isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str | int | float) or isinstance(one, bool):
            raise BadInputError(f"{place}: {one!r} is not a single value for it")
        try:
            param.type.convert(str(one), param, ctx)
        except click.BadParameter as error:
            raise BadInputError(f"{place}: {error.message}") from error
    return [str(one) for one in values] if param.multiple else str(value)


def _switch(place: str, value: Any) -> bool:
    spoken = str(value).lower()
    if spoken not in ("true", "false"):
        raise BadInputError(f"{place}: {value!r} is not true or false")
    return spoken == "true"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise BadInputError(f"{path}: larger than {MOST_BYTES} bytes: a workload file holds a few lines")
        return raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error


def _parse_toml(path: str, text: str) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise BadInputError(f"{path}: is nested too deeply: a workload file is flat") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        head = re.match(r"""\s*\[*["']?([\w-]+)""", line)
        if head:
            lines.setdefault(head[1], number)
    return values, lines


def _parse_yaml(path: str, text: str) -> tuple[dict[str, Any], dict[str, int]]:
    import yaml

    try:
        # Everything stays text: YAML 1.1 would turn the key `on` and the value `no` into booleans, `1_0` into ten.
        tree = yaml.compose(text, Loader=yaml.BaseLoader)
        values = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise BadInputError(f"{path}: is not valid YAML: {error}") from error
    except RecursionError as error:
        raise BadInputError(f"{path}: is nested too deeply: a workload file is flat") from error
    if not isinstance(tree, yaml.MappingNode) or not isinstance(values, dict):
        raise BadInputError(f"{path}: holds no keys: write lines such as 'users: 64'")
    lines: dict[str, int] = {}
    for key, line in _nested(tree, "", MOST_DEEP):
        if key in lines:
            raise BadInputError(f"{path}:{line}: {key} is given twice")
        lines[key] = line
    return {str(key): value for key, value in values.items()}, lines


def _nested(node: Any, above: str, deep: int) -> Iterator[tuple[str, int]]:
    """Yield the dotted name and line of every key; what lies deeper than any section is left out."""
    if deep == 0:
        return
    if isinstance(node.value, list) and node.id == "mapping":
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line + 1
            yield from _nested(value, f"{above}{key.value}.", deep - 1)
    elif isinstance(node.value, list):
        for number, value in enumerate(node.value[:MOST_IN_A_LIST]):
            yield f"{above}{number}", value.start_mark.line + 1
            yield from _nested(value, f"{above}{number}.", deep - 1)
