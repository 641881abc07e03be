"""A systemd unit: one template, an instance for each replica of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sizewell.deployer import words
from sizewell.deployer.command import DEVICES
from sizewell.deployer.launch import Launch
from sizewell.deployer.terms import Artefact, Priced
from sizewell.specs.errors import BadInputError

PRICED = "# priced: "
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
    return {f"{launch.name}-{number}.service": _unit(launch, number) for number in range(launch.pool.replicas)}


def _unit(launch: Launch, number: int) -> str:
    program, *rest = words.program(launch)
    lines = [
        f"{PRICED}{Priced.of(launch).text}",
        *([f"# {launch.flags.note}"] if launch.flags.note else []),
        "[Unit]",
        f"Description=Engine {launch.name}, replica {number}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        *_environment(launch, number),
        "# Secrets and site settings: HF_TOKEN, HF_HOME, the key clients must show. Readable by root alone.",
        f"EnvironmentFile=-/etc/sizewell/{launch.name}.env",
        f"ExecStart=/usr/bin/env {_quoted(program)} {' '.join(map(_quoted, rest))}".rstrip() + " \\",
        *_flags(launch, number),
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


def _environment(launch: Launch, number: int) -> list[str]:
    lines = []
    for each in words.environment(launch):
        lines += [f"# {each.why}", f"Environment={_quoted(f'{each.name}={each.value}')}"]
    first = number * launch.gpus_per_node
    mine = ",".join(str(first + place) for place in range(launch.gpus_per_node))
    device = DEVICES.get(launch.deployment.cluster.gpu.vendor, "SIZEWELL_ACCELERATORS")
    return [*lines, "# the accelerators of this replica", f'Environment="{device}={mine}"']


def _flags(launch: Launch, number: int) -> list[str]:
    said = words.flags(launch)
    lines = []
    for place, flag in enumerate(said, start=1):
        value = str(launch.site.port + number) if flag.live == "port" else flag.value
        more = " \\" if place < len(said) else ""
        lines += [f"# {flag.why}", f"    {flag.name}{'' if value is None else ' ' + _quoted(value)}{more}"]
    if launch.exposed:
        raise BadInputError(f"a unit listens on this machine alone, not on {launch.site.host}: put a proxy before it")
    return lines


def _quoted(text: str) -> str:
    """Return one word as systemd reads it."""
    return '"' + "".join(ESCAPES.get(mark, mark) for mark in text) + '"'


def _plain(quoted: str) -> str:
    text = re.sub(r"\\(?:x([0-9a-f]{2})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], quoted)
    return text.replace("%%", "%").replace("$$", "$")


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the units say; they differ in port and accelerators only."""
    text = next(iter(files.values()))
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
    mine = re.search(r'^Environment="\w+=([\d,]+)"$', text[text.index("# the accelerators") :], re.MULTILINE)
    return Artefact(
        priced=priced,
        terms=words.read(priced, said, variables),
        replicas=len(files),
        nodes=1,
        gpus_per_node=len(mine[1].split(",")) if mine else 1,
    )


def _words(text: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"{_WORD.pattern}|\S+", text))
