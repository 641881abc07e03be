"""Write again every block of README and docs that shows what the program prints; `--check` fails when one differs.

A block is marked by a comment line `<!-- run: sizewell … -->` right before its fence. What differs from run to run
(timings) is never shown this way.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "src" / "sizewell" / "cli" / "schemas"
SCHEMA_PAGE = ROOT / "docs" / "json-schema.md"
HEAD = """# JSON

Written by `make docs` from `src/sizewell/cli/schemas`, which the tests check every document against. Base units only:
seconds, bytes, tokens, W, USD; fractions, not percent. Infinite and undefined values are `null`. The same question
gives the same bytes. `schema` names the document and its version; a field is never renamed within a version.
"""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- run: (?P<command>[^\n]+?) -->\n```[a-z]*\n)(?P<body>.*?)(\n?```)", re.DOTALL)


def output_of(command: str) -> str:
    """Return what a `sizewell` command prints on both streams, without trailing blanks.

    A pipe into `head -N` or `tail -N` is understood.
    """
    words, _, pipe = command.partition(" | ")
    end, _, cut = pipe.partition(" -")
    program, *arguments = shlex.split(words)
    if program != "sizewell":
        raise SystemExit(f"docs may only show sizewell, not {program!r}")
    environment = {
        **os.environ,
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "PYTHONPATH": str(ROOT / "src"),
        "SIZEWELL_CATALOG": "/nonexistent",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sizewell", *arguments],
        cwd=ROOT, env=environment, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if "Traceback" in done.stdout:
        raise SystemExit(f"{command}\n{done.stdout}")
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    if not cut or len(lines) <= int(cut):
        return "\n".join(lines)
    return "\n".join([*lines[: int(cut)], "…"] if end == "head" else ["…", *lines[-int(cut) :]])


def renewed(text: str) -> str:
    """Return a page with every marked block's body replaced by the program's output."""
    return BLOCK.sub(lambda block: f"{block[1]}{output_of(block['command'])}\n```", text)


def schema_page() -> str:
    """Return the page of all schemas."""
    parts = [HEAD]
    for path in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"## `sizewell {path.stem} --json`\n\n{schema['description']}\n")
        parts.append(_table(schema))
        parts += [f"`{name}`: {inner['description']}\n\n{_table(inner)}" for name, inner in schema["$defs"].items()]
    return "\n".join(parts)


def _table(schema: dict[str, Any]) -> str:
    rows = [f"| `{path}` | {kind} | {says} |" for path, kind, says in _rows(schema, "")]
    return "\n".join(["| Field | Type | Means |", "|---|---|---|", *rows, ""])


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        inner = next((each for each in field.get("oneOf", [field]) if each.get("type") != "null"), field)
        says = field.get("description", inner.get("description", ""))
        yield f"{prefix}{name}", _kind(field), says
        yield from _rows(inner, f"{prefix}{name}.")
        yield from _rows(inner.get("items") or {}, f"{prefix}{name}[].")


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return f"`{field['$ref'].rsplit('/', 1)[-1]}`"
    if "oneOf" in field:
        return " or ".join(_kind(each) for each in field["oneOf"])
    if "enum" in field:
        return " ".join(f"`{each}`" for each in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "any")
    shown = " or ".join(kind) if isinstance(kind, list) else kind
    return f"{shown} of {_kind(field['items'])}" if field.get("items") else shown


def main() -> int:
    """Rewrite the pages, or compare them; return the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for page in dict.fromkeys([*PAGES, SCHEMA_PAGE]):
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        fresh = schema_page() if page == SCHEMA_PAGE else renewed(text)
        if fresh != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(fresh, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run `make docs` and commit", file=sys.stderr)
        return 1
    print(f"{len(PAGES)} pages, {len(stale)} rewritten" if not check else f"{len(PAGES)} pages are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
