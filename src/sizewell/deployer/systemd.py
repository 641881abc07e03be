"""A systemd unit: one template, an instance for each replica of this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sizewell.deployer import words
from sizewell.deployer.launch import DEVICES, Flag, Launch, Live
from sizewell.deployer.terms import Artefact, Priced, paired
from sizewell.specs.deployment import PoolRole
from sizewell.specs.errors import BadInputError

PRICED = "# priced: "
ENGINE = "# the accelerators of this replica"
"""What every engine's unit says, and no router's."""
ROOT = "# Runs as root; `render --user NAME` says who else: one who can read the model and run the engine."
ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "%": "%%",
    "$": "$$",
    **{chr(code): f"\\x{code:02x}" for code in (*range(1, 32), 127)},
}
"""Inside double quotes: control characters, specifiers and variables made plain."""
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


def render(launch: Launch) -> Mapping[str, str]:
    """Return a unit for each replica; raises BadInputError for more than one machine."""
    if launch.deployment.cluster.nodes > 1:
        raise BadInputError("a unit runs on one machine: render for slurm or kubernetes, or a plan of one node")
    refuse_open(launch)
    units = {}
    for number in range(launch.pool.replicas):
        first = number * launch.gpus_per_node
        mine = [str(first + place) for place in range(launch.gpus_per_node)]
        live: Mapping[Live, str] = {"port": str(launch.site.port + number)}
        told = environment(launch, live.__getitem__, mine)
        said = flag_lines(words.flags(launch), live.__getitem__)
        units[f"{launch.name}-{number}.service"] = unit(
            launch, f"Engine {launch.name}, replica {number}", words.program(launch), told, said
        )
    return units


def unit(launch: Launch, what: str, program: Sequence[str], environment: Sequence[str], flags: Sequence[str]) -> str:
    """Return the unit of one program with the lines of its environment and its flags."""
    first, *rest = program
    lines = [
        f"{PRICED}{Priced.of(launch).text}",
        *([f"# {launch.flags.note}"] if launch.flags.note else []),
        "[Unit]",
        f"Description={what}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        f"User={launch.site.user}" if launch.site.user else ROOT,
        *environment,
        "# Secrets and site settings: HF_TOKEN, HF_HOME, the key clients must show. Readable by root alone.",
        f"EnvironmentFile=-/etc/sizewell/{launch.name}.env",
        f"ExecStart=/usr/bin/env {quoted(first)} {' '.join(map(quoted, rest))}".rstrip() + " \\",
        *flags,
        "# A dead engine can exit with 0: start it again whatever it says.",
        "Restart=always",
        "RestartSec=10",
        "# Running requests have two minutes to end.",
        "TimeoutStopSec=120",
        "KillMode=mixed",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


def environment(launch: Launch, value_of: Callable[[Live], str], accelerators: Sequence[str]) -> list[str]:
    """Return the lines that set what an engine reads, and its accelerators last."""
    lines = []
    for each in words.environment(launch):
        value = value_of(each.live) if each.live else each.value
        lines += [f"# {each.why}", f"Environment={quoted(f'{each.name}={value}')}"]
    device = DEVICES.get(launch.deployment.cluster.gpu.vendor, "SIZEWELL_ACCELERATORS")
    return [*lines, ENGINE, f'Environment="{device}={",".join(accelerators)}"']


def flag_lines(said: Sequence[Flag], value_of: Callable[[Live], str]) -> list[str]:
    """Return flags as lines that continue a command, each under its reason."""
    lines = []
    for place, flag in enumerate(said, start=1):
        value = value_of(flag.live) if flag.live else flag.value
        more = " \\" if place < len(said) else ""
        values = "".join(f" {quoted(each)}" for each in (value, flag.beside) if each is not None)
        lines += [f"# {flag.why}", f"    {flag.name}{values}{more}"]
    return lines


def refuse_open(launch: Launch) -> None:
    """Refuse to listen beyond this machine; raises BadInputError."""
    if launch.exposed:
        raise BadInputError(f"a unit listens on this machine alone, not on {launch.site.host}: put a proxy before it")


def quoted(text: str) -> str:
    """Return one word as systemd reads it."""
    return '"' + "".join(ESCAPES.get(mark, mark) for mark in text) + '"'


def _plain(quoted: str) -> str:
    text = re.sub(r"\\(?:x([0-9a-f]{2})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], quoted)
    return text.replace("%%", "%").replace("$$", "$")


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the units say; those of a pool differ in ports and accelerators only."""
    pools: dict[PoolRole, list[Artefact]] = {}
    for text in files.values():
        if ENGINE in text:
            one = _read_unit(text)
            pools.setdefault(one.terms.role, []).append(one)
    return paired([replace(units[0], replicas=len(units)) for units in pools.values()])


def _read_unit(text: str) -> Artefact:
    lines = text.split("\n")
    priced = Priced.read(lines[0].removeprefix(PRICED))
    start = next(place for place, line in enumerate(lines) if line.startswith("ExecStart="))
    command = []
    for line in lines[start:]:
        if not line.startswith("#"):
            command.append(line.removeprefix("ExecStart=/usr/bin/env ").removesuffix("\\"))
            if not line.endswith("\\"):
                break
    said = [_plain(word[1]) if word[1] is not None else word[0] for word in _words(" ".join(command))]
    variables = [name.partition("=")[0] for name in re.findall(r'^Environment="([^"]*)"', text, re.MULTILINE)]
    mine = re.search(r'^Environment="\w+=([\d,]+)"$', text[text.index(ENGINE) :], re.MULTILINE)
    return Artefact(
        priced=priced,
        terms=words.read(priced, said, variables),
        replicas=1,
        nodes=1,
        gpus_per_node=len(mine[1].split(",")) if mine else 1,
    )


def _words(text: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"{_WORD.pattern}|\S+", text))
