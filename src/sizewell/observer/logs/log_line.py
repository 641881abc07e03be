"""One line of an engine's log without what launchers, rank names and terminals put around its message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["quiet", "warning", "error", "fatal", "bare"]
"""`quiet` is information, `fatal` what ends a program, `bare` a line that states no level: a traceback, a shell."""

MOST_CHARACTERS = 4000
"""What is read of a line: an engine prints its whole configuration on one."""

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_AROUND = re.compile(
    r"""\s*(?:
      \[?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*\]?\s                           # docker, kubectl --timestamps
    | \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d[.,]\d+\ (?:-\ \S+\ -\ [A-Z]+\ -|\[\w+\]\ \(\w+\))\s  # a launcher's own log
    | \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d(?:[.,]\d+)?\s+(?:(?:\||>>|-)\s+)?       # a collector's, a log format of one's own
    | (?:\w{3}\ \w{3}\ [ \d]\d\ \d\d:\d\d:\d\d\ \d{4})?\[\d+,\d+\]<std(?:out|err)>:  # mpirun --tag-output
    | \w{3}\ [ \d]\d\ \d\d:\d\d:\d\d\ \S+\ [\w./-]+\[\d+\]:\s              # journald
    | [\w.-]+\s+\|\s                                                       # docker compose
    | (?P<node>\d{1,4}):\s                                                 # srun --label
    | (?P<process>\((?=raylet\b|[^)]*\b(?:pid|rank|ip)=)[^)]*\))\s?         # vLLM's processes, Ray's actors
    | (?P<rank>\[rank\d+\]):\s?                                                   # torchrun
    | \[\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d(?:[.,]\d+)?(?:\ (?:[A-Z]{1,6}\d+))*\]\s?  # SGLang
    | \d+\.\d\d\.\d{3}\.\d{3}\s                                            # llama.cpp --log-timestamps
    )""",
    re.VERBOSE,
)
_LEVELLED = re.compile(
    r"""(?:
      (?P<name>DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)
        (?::\s*(?:[\w.]+:\s?)?|\s+\d\d-\d\d\ \d\d:\d\d:\d\d(?:\.\d+)?\s(?:\[[^\]]*\]|[\w./-]+:\d+\])\s?
        |\s+\d+\ \[[\w./-]+:\d+\]\s?|\s+)
    | \[\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d,\d+\ (?P<ray>[DIWECF])\ \d+\ \d+\]\s(?:\(\w+\)\s)?
    | \[?(?P<letter>[WEIF])\d{3,4}\ \d\d:\d\d:\d\d\.\d+\s[^\]]*\]\s*   # torch
    | (?P<initial>[DIWE])\s(?=\w+[ :])                                   # llama.cpp --log-prefix
    )""",
    re.VERBOSE,
)
_NAMED: dict[str, Level] = {
    "D": "quiet", "I": "quiet", "W": "warning", "E": "error", "C": "fatal", "F": "fatal",
}  # fmt: skip
_WARNS = re.compile(r"\b\w*Warning:|NCCL WARN\b|Exception ignored in\b")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line as written and its message, the level it states, and the node `srun --label` names (empty: none).

    `speaker` tells the processes apart whose lines are mixed, as far as launchers and engines name them.
    """

    text: str
    message: str
    level: Level
    node: str = ""
    speaker: str = ""


def read_line(text: str) -> LogLine:
    """Return one line, free of line ends, with its message apart; only the first 4,000 characters are kept."""
    text = text[:MOST_CHARACTERS]
    message, node, speaker = _COLOUR.sub("", text), "", ""
    while found := _AROUND.match(message):
        node = node or found["node"] or ""
        speaker += found["node"] or found["process"] or found["rank"] or ""
        message = message[found.end() :]
    if found := _LEVELLED.match(message):
        said = found["name"] or found["letter"] or found["ray"] or found["initial"]
        return LogLine(text, message[found.end() :], _NAMED[said[0]], node, speaker)
    if "NCCL INFO" in message:
        return LogLine(text, message, "quiet", node, speaker)
    return LogLine(text, message, "warning" if _WARNS.search(message) else "bare", node, speaker)
