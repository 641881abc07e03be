"""Writes catalog/data/engine_flags from released packages: `python -m tools.engine_flags FOLDER`.

FOLDER holds the wheels, one `pip download --no-deps --only-binary :all: vllm==0.33.0` (sglang==…, vllm-router==…) each,
and the source archive of llama-cpp-python, which contains llama.cpp. Nothing is imported or run: the parsers'
definitions are read from the source, so that a wheel built for another machine tells as much as one for this.
"""

from __future__ import annotations

import ast
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

from tools import engine_choices

DATA = Path(__file__).parents[1] / "src" / "sizewell" / "catalog" / "data" / "engine_flags"
SOURCES = {
    "vllm": re.compile(r"vllm/(engine/arg_utils|entrypoints/\w+/cli_args|entrypoints/cli/serve|envs)\.py"),
    "sglang": re.compile(r"sglang/srt/(server_args|environ|arg_groups/fields/\w+)\.py"),
    "vllm_router": re.compile(r"vllm_router/router_args\.py"),
    "sglang_router": re.compile(r"sglang_router/router_args\.py"),
}
FRONT_ENDS = {"FrontendArgs", "BaseFrontendArgs"}
"""vLLM's classes whose fields become flags of the same name; SGLang's are those annotated with `A[…]`."""
SWITCHABLE = {"EngineArgs", *FRONT_ENDS}
"""Classes whose boolean fields become a pair of switches where a flag is built from its field."""
SGLANG_VARIABLE = re.compile(r"""["'](SGLANG_[A-Z0-9_]+)["']""")
LLAMA_BUILDS = {"0.3.15": "b6100", "0.3.34": "b9976"}
"""Release of llama-cpp-python → the build of llama.cpp it holds: the archive names none, its change log a commit."""
VALUELESS = ("store_true", "store_false", "store_const", "Boolean", "DeprecatedStoreTrue")


@dataclass(slots=True)
class Parser:
    """What one release understands: options that take a value, switches, environment variables, values of options."""

    values: set[str] = field(default_factory=set)
    switches: set[str] = field(default_factory=set)
    environment: set[str] = field(default_factory=set)
    choices: set[str] = field(default_factory=set)


def read_wheel(path: Path) -> tuple[str, str, Parser]:
    """Return engine, release and parser of a wheel."""
    engine, release = path.name.split("-")[:2]
    found = Parser()
    with ZipFile(path) as wheel:
        for name in filter(SOURCES[engine].fullmatch, wheel.namelist()):
            read_source(ast.parse(wheel.read(name)), found)
        if engine == "sglang":  # read all over its source, registered in one place only lately
            for name in wheel.namelist():
                if name.startswith("sglang/srt/") and name.endswith(".py"):
                    found.environment |= set(SGLANG_VARIABLE.findall(wheel.read(name).decode()))
        if chosen := engine_choices.SOURCES.get(engine):
            found.choices = engine_choices.choices(
                wheel.read(name).decode() for name in filter(chosen.fullmatch, wheel.namelist())
            )
    found.values -= found.switches
    return engine.replace("_", "-"), release, found


def read_source(tree: ast.Module, found: Parser) -> None:
    """Add to `found` what one source file defines."""
    # What may also be text takes a value.
    boolean = ((owner, name) for owner, name, kind in _fields(tree) if "bool" in kind and "str" not in kind)
    switchable = {name for owner, name in boolean if owner in SWITCHABLE}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            _read_argument(node, switchable, found)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "environment_variables":
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            found.environment |= set(_texts(key for key in keys if key is not None))
        if isinstance(node, ast.ClassDef) and node.name == "Envs":
            found.environment |= {_name(each.targets[0]) for each in node.body if isinstance(each, ast.Assign)}
    for owner, name, kind in _fields(tree):
        if owner in FRONT_ENDS:
            _add({_flag(name)}, "bool" in kind, True, found)
        elif kind.startswith("A[") and "no_cli=True" not in kind:
            spoken = re.search(r"cli_name='([^']+)'", kind)
            flag = spoken[1] if spoken else _flag(name)
            _add({flag, *_aliases(kind)}, "bool" in kind.split(",")[0], False, found)


def _fields(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Yield class, name and annotation of every field that may become a flag."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (node.name in {*SWITCHABLE, "ServerArgs"} or _is_namespace(node)):
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and not _name(each.target).startswith("_"):
                    yield node.name, _name(each.target), ast.unparse(each.annotation)


def _is_namespace(node: ast.ClassDef) -> bool:
    return any(isinstance(each, ast.Assign) and _name(each.targets[0]) == "_NS_PATH" for each in node.body)


def _read_argument(call: ast.Call, switchable: set[str], found: Parser) -> None:
    flags = {text for text in _texts(call.args) if re.fullmatch(r"--\w.*", text)}
    action = next((ast.unparse(k.value) for k in call.keywords if k.arg == "action"), "")
    from_field = any(k.arg is None for k in call.keywords)
    named = {flag.lstrip("-").replace("-", "_") for flag in flags}
    boolean = from_field and bool(named & switchable)
    valueless = boolean or any(word in action for word in VALUELESS)
    _add(flags, valueless, boolean or "BooleanOptional" in action, found)


def _texts(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):  # routers build "--policy" of a prefix that is empty in their own parser
            yield "".join(_texts(node.values))


def _add(flags: Iterable[str], switch: bool, negatable: bool, found: Parser) -> None:
    (found.switches if switch else found.values).update(flags)
    if switch and negatable:
        found.switches |= {f"--no-{flag.removeprefix('--')}" for flag in flags}


def _aliases(annotation: str) -> list[str]:
    listed = re.search(r"aliases=\[([^\]]*)\]", annotation)
    return re.findall(r"'(--[^']+)'", listed[1]) if listed else []


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name(node: ast.expr) -> str:
    return getattr(node, "id", "")


def read_llama(path: Path) -> tuple[str, str, Parser]:
    """Return engine, build and parser of the llama.cpp inside a source archive of llama-cpp-python."""
    release = path.name.removesuffix(".tar.gz").rpartition("-")[2]
    with tarfile.open(path) as archive:
        member = next(each for each in archive if each.name.endswith("vendor/llama.cpp/common/arg.cpp"))
        stream = archive.extractfile(member)
        text = stream.read().decode() if stream else ""
    found = Parser()
    # What takes a value has a second parameter in the function that stores it; one of truth is said by two names.
    for names, negated, more in re.findall(
        r"add_opt\(common_arg\(\s*\{([^}]*)\},\s*(?:\{([^}]*)\})?.*?\[[^\]]*\]\(common_params &\s*(?:/\*.*?\*/)?\w*\s*"
        r"(, *bool\b|,|\))",
        text, re.DOTALL,
    ):  # fmt: skip
        flags = re.findall(r'"(--[^"]+)"', names + negated)
        (found.values if more == "," else found.switches).update(flags)
    found.environment |= set(re.findall(r'set_env\("(\w+)"\)', text)) | {"GGML_CUDA_DISABLE_GRAPHS"}
    return "llama.cpp", LLAMA_BUILDS[release], found


def table(engine: str, parsers: Mapping[str, Parser]) -> str:
    """Return the data file of one engine; `parsers` by release, oldest first."""
    releases = list(parsers)
    lines = [
        f"# What each release of {engine} understands; written by tools/engine_flags.py from the released packages.",
        '# "0.8.5-0.10.2, 0.19.0-" names the releases, of those listed, that have it.',
        f'engine = "{engine}"',
        f"releases = {releases}".replace("'", '"'),
    ]
    for kind in ("values", "switches", "environment", "choices"):
        names = sorted(set().union(*(getattr(parser, kind) for parser in parsers.values())))
        if not names and kind == "choices":
            continue
        lines += ["", f"[{kind}]"]
        for name in names:
            present = [name in getattr(parsers[release], kind) for release in releases]
            lines.append(f'"{name}" = "{_ranges(releases, present)}"')
    return "\n".join([*lines, ""])


def _ranges(releases: list[str], present: list[bool]) -> str:
    said, start = [], None
    for place, there in enumerate([*present, False]):
        if there and start is None:
            start = place
        if not there and start is not None:
            said.append(f"{releases[start]}-{'' if place == len(releases) else releases[place - 1]}")
            start = None
    return ", ".join(said)


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release))


def main(folder: Path) -> None:
    """Write the table of every engine whose packages lie in `folder`."""
    read = [read_wheel(path) for path in folder.glob("*.whl")] + [read_llama(p) for p in folder.glob("llama*.tar.gz")]
    for engine in sorted({engine for engine, _, _ in read}):
        parsers = {release: parser for name, release, parser in read if name == engine}
        ordered = {release: parsers[release] for release in sorted(parsers, key=_order)}
        (DATA / f"{engine}.toml").write_text(table(engine, ordered), encoding="utf-8")
        print(f"{engine}: {', '.join(f'{r} {len(p.values | p.switches)} flags' for r, p in ordered.items())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
