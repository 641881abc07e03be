"""Shell text: words quoted one by one, each with its reason, and read back.

Names reach a script only through `shlex.quote`; what the running job knows, through a quoted variable.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from sizewell.deployer import words
from sizewell.deployer.launch import Flag, Launch, Live, Variable
from sizewell.deployer.terms import Artefact, Priced, paired
from sizewell.specs.errors import BadInputError

PRICED = "# priced: "
LITERAL = "shellcheck disable=SC1003,SC2016  # a name that looks like shell is one all the same"
LIVE: Mapping[Live, str] = {
    "port": '"$port"', "head": '"$head"', "rank": '"$rank"', "rendezvous": '"$rendezvous"',
    "meeting": '"$head:$rendezvous"', "dispatch": '"$((rendezvous + 1))"', "address": '"$address"',
    "handover": '"$handover"', "metrics": '"$metrics"',
}  # fmt: skip


def head(launch: Launch, notes: Sequence[str]) -> list[str]:
    """Return the first comment lines of a script: what was priced, notes, and a word to those who check scripts."""
    site = launch.site
    names = (site.model_path, site.served_name, site.slurm.environment or "")
    literal = [LITERAL] if any(mark in name for name in names for mark in "$`\\") else []
    return [f"{PRICED}{Priced.of(launch).text}", *(f"# {note}" for note in (*notes, *literal) if note)]


def engine_array(words: Sequence[str], flags: Sequence[Flag], indent: str = "") -> list[str]:
    """Return the lines of a bash array `engine` that holds a command, a word and its reason a line."""
    inside = f"{indent}  "
    lines = [f"{indent}engine=(", inside + " ".join(map(_quoted, words))]
    for flag in flags:
        value = LIVE[flag.live] if flag.live else "" if flag.value is None else _quoted(flag.value)
        lines.append(f"{inside}{flag.name}{' ' if value else ''}{value}  # {flag.why}")
    return [*lines, f"{indent})"]


def _quoted(text: str) -> str:
    """Return one word; a bare comma would look like a mistaken separator."""
    quoted = shlex.quote(text)
    return f"'{text}'" if quoted == text and "," in text else quoted


def exports(variables: Sequence[Variable], indent: str = "") -> list[str]:
    """Return lines that set variables, each with its reason."""
    said = ((each, LIVE[each.live] if each.live else shlex.quote(each.value)) for each in variables)
    return [f"{indent}export {each.name}={value}  # {each.why}" for each, value in said]


def read_priced(text: str) -> Priced:
    """Return what a script's head says was priced; raises BadInputError without such a line."""
    for line in text.split("\n"):
        if line.startswith(PRICED):
            return Priced.read(line.removeprefix(PRICED))
    raise BadInputError("not a rendered script: it does not say what was priced")


def read_engine(text: str) -> list[str]:
    """Return the words of the first array `engine`, variables as they stand; raises BadInputError without one."""
    return read_engines(text)[0]


def read_engines(text: str) -> list[list[str]]:
    """Return the words of every array `engine` in turn; raises BadInputError without one."""
    found, start = [], 0
    while opened := re.compile(r"^ *engine=\($", re.MULTILINE).search(text, start):
        inside = "".join(_inside(text[opened.end() :]))
        found.append(shlex.split(inside, comments=True))
        start = opened.end() + len(inside)  # a name inside may look like another array
    if not found:
        raise BadInputError("not a rendered script: it holds no engine=( … )")
    return found


def _inside(text: str) -> Iterator[str]:
    """Yield the characters up to the bracket that closes the array, which is neither quoted nor in a comment."""
    quote, comment = "", False
    for mark in text:
        if comment:
            comment = mark != "\n"
        elif quote:
            quote = "" if mark == quote else quote
        elif mark == ")":
            return
        elif mark in "'\"":
            quote = mark
        else:
            comment = mark == "#"
        yield mark


def read_exports(text: str) -> list[str]:
    """Return the names of the variables a script sets."""
    lines = (line.strip() for line in text.split("\n"))
    return [line.removeprefix("export ").partition("=")[0] for line in lines if line.startswith("export ")]


def read_constants(text: str) -> dict[str, int]:
    """Return the numbers a script keeps in its `readonly` line."""
    for line in text.split("\n"):
        if line.startswith("readonly "):
            pairs = (word.split("=") for word in line.split()[1:])
            return {name: int(value) for name, value in pairs}
    raise BadInputError("not a rendered script: it keeps no numbers")


def pool_numbers(launch: Launch) -> list[str]:
    """Return how many replicas each pool has, and on how many nodes each stands, as numbers a script keeps."""
    return [
        f"{part.pool.role}_{what}={many}"
        for part in launch.parts
        for what, many in (("replicas", part.pool.replicas), ("nodes", part.nodes))
    ]


def read_pools(text: str, constants: Mapping[str, int]) -> Artefact:
    """Return what a script says of both pools: each array `engine` but the last, the router's, is one of them.

    `constants` are its numbers of replicas and of their nodes.
    """
    priced, pools = read_priced(text), []
    for said in read_engines(text)[:-1]:
        terms = words.read(priced, said, read_exports(text))
        nodes = constants[f"{terms.role}_nodes"]
        pools.append(
            Artefact(
                priced=priced, terms=terms, replicas=constants[f"{terms.role}_replicas"], nodes=nodes,
                gpus_per_node=terms.parallelism.gpus // nodes,
            )
        )  # fmt: skip
    return paired(pools)
