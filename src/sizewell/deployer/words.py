"""The words an engine is started with, each checked against the release that shall understand it."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from sizewell.deployer import llama_cpp, sglang, vllm
from sizewell.deployer.launch import Flag, Launch, Variable
from sizewell.deployer.terms import Priced, Terms
from sizewell.specs.errors import BadInputError

ENGINES: dict[str, ModuleType] = {"vllm": vllm, "sglang": sglang, "llama.cpp": llama_cpp}
KEYS = {"vllm": "VLLM_API_KEY", "sglang": "SGLANG_API_KEY", "llama.cpp": "LLAMA_API_KEY"}
"""Where a client's key comes from; SGLang is told by a flag, from this variable."""


def program(launch: Launch) -> tuple[str, ...]:
    """Return the words before the flags."""
    words: tuple[str, ...] = _engine(launch).program(launch)
    return words


def flags(launch: Launch) -> tuple[Flag, ...]:
    """Return what the engine is told on every node; raises BadInputError for a flag its release does not know."""
    said = tuple(_engine(launch).flags(launch))
    if launch.nodes > 1:
        said += tuple(_engine(launch).joining(launch))
    if launch.split:
        said += tuple(_engine(launch).handover(launch))
    if launch.pool.settings.pin_prefixes:
        raise BadInputError(f"{launch.flags.engine} cannot be told to pin prefixes: leave --pin-prefixes out")
    if launch.pool.settings.by_priority and launch.flags.engine == "llama.cpp":
        raise BadInputError("llama.cpp serves in order of arrival: leave --by-priority out")
    for flag in said:
        launch.flags.check(flag.name, takes_value=flag.takes_value)
        if flag.value is not None:
            launch.flags.check_value(flag.name, flag.value)
    return said


def follower(launch: Launch) -> Flag | None:
    """Return what the nodes after the first are told besides."""
    flag: Flag | None = _engine(launch).FOLLOWER
    if flag is not None and launch.nodes > 1:
        launch.flags.check(flag.name, takes_value=False)
    return flag


def environment(launch: Launch) -> tuple[Variable, ...]:
    """Return the variables it reads; raises BadInputError for one its release does not."""
    said = tuple(_engine(launch).environment(launch))
    for variable in said:
        launch.flags.check_variable(variable.name)
    return said


def key_variable(launch: Launch) -> str:
    """Return the variable that holds the key clients must show."""
    return KEYS[launch.flags.engine]


def read(priced: Priced, words: Sequence[str], variables: Sequence[str]) -> Terms:
    """Return what words and variables tell the engine an artefact names."""
    terms: Terms = ENGINES[priced.engine.partition("@")[0]].read(words, frozenset(variables))
    return terms


def _engine(launch: Launch) -> ModuleType:
    return ENGINES[launch.flags.engine]
