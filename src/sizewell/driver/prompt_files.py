"""Files of prompts in the dialects people have, told apart by what they hold."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from sizewell.driver.prompts import CHAT, COMPLETIONS, PATHS, Row
from sizewell.specs.errors import BadInputError

Dialect = Literal["openai", "tagged", "csv", "lines"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
PROMPT_COLUMNS = ("prompt", "content", "user_prompt", "question", "text")
ID_COLUMNS = ("custom_id", "question_tag", "id", "tag")
SYSTEM_COLUMNS = ("system_prompt", "system")
MOST_FILE_BYTES = 4 * 2**30
MOST_FIELD_CHARACTERS = 2**31 - 1
"""The most the reader of CSV can be told; its own limit of 131,072 is less than a prompt of 50,000 tokens."""
STDIN = Path("-")


def read_rows(path: Path, dialect: Dialect | None = None) -> list[Row]:
    """Return the rows of a file, or of standard input, whose name is `-`.

    `openai`: a JSON object a line, OpenAI Batch (`custom_id`, `url`, `body`) or `{"prompt": …}` or `{"messages": …}`;
    `tagged`: one JSON object `{system_prompt, user_prompts: [{question_tag, content}]}`; `csv`: a head with one of
    the columns prompt, content, user_prompt, question, text; `lines`: a prompt a line, blank ones left out.
    Raises BadInputError naming file and line, also for a file without any prompt.
    """
    text = _text(path)
    kind = dialect or _dialect(path, text)
    readers = {"openai": _openai, "tagged": _tagged, "csv": _csv, "lines": _lines}
    name = "standard input" if path == STDIN else str(path)
    rows = list(readers[kind](name, text))
    if not rows:
        raise BadInputError(f"{name}: holds no prompt")
    return rows


def _text(path: Path) -> str:
    try:
        if path == STDIN:
            return sys.stdin.buffer.read().decode("utf-8-sig")
        if path.is_file() and path.stat().st_size > MOST_FILE_BYTES:
            raise BadInputError(f"{path}: larger than {MOST_FILE_BYTES / 2**30:g} GiB: cut it into several")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None


def _dialect(path: Path, text: str) -> Dialect:
    if path.suffix.lower() == ".csv":
        return "csv"
    if not text.lstrip().startswith("{"):
        if path.suffix.lower() in (".json", ".jsonl") and text.strip():
            raise BadInputError(f"{path}: holds no JSON object at its start; --dialect lines sends it line by line")
        return "lines"
    first = next(line for line in text.split("\n") if line.strip())
    try:
        return "openai" if "user_prompts" not in json.loads(first) else "tagged"
    except ValueError:
        return "tagged"  # an object that goes on over several lines


def _openai(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{name}:{number}"
            yield _openai_row(place, _object(place, line))


def _openai_row(place: str, row: Mapping[str, Any]) -> Row:
    if "body" not in row:
        return _bare_row(place, row)
    own_id = row.get("custom_id", "")
    if not isinstance(own_id, str):
        raise BadInputError(f"{place}: custom_id {str(own_id)[:40]!r} is no text")
    url, body = row.get("url", CHAT), row["body"]
    if row.get("method", "POST") != "POST" or url not in PATHS:
        raise BadInputError(f"{place}: {row.get('method', 'POST')} {str(url)[:80]}: only POST to {' and '.join(PATHS)}")
    if not isinstance(body, dict) or not ({"messages", "prompt"} & set(body)):
        raise BadInputError(f"{place}: the body holds neither messages nor a prompt")
    return Row(own_id=own_id, body=body, place=place, path=url)


def _bare_row(place: str, row: Mapping[str, Any]) -> Row:
    """Return a line without a body: its id may have any name a column has, and is no field of the request."""
    named = next((name for name in ID_COLUMNS if name in row), "")
    own_id = row.get(named, "")
    if not isinstance(own_id, str | int):
        raise BadInputError(f"{place}: {named} {str(own_id)[:40]!r} is neither text nor number")
    own_id = str(own_id)
    fields = {key: value for key, value in row.items() if key != named}
    if isinstance(fields.get("messages"), list):
        return Row(own_id=own_id, body=fields, place=place)
    prompt = fields.pop("prompt", None)
    if prompt is not None and not isinstance(prompt, str):
        raise BadInputError(f"{place}: the prompt is no text: token ids go into a body, with url {COMPLETIONS}")
    if prompt is None:
        raise BadInputError(f"{place}: holds no body, no messages and no prompt")
    return Row(own_id=own_id, body={"messages": _messages("", prompt), **fields}, place=place)


def _tagged(name: str, text: str) -> Iterator[Row]:
    whole = _object(name, text)
    system, asked = whole.get("system_prompt") or "", whole.get("user_prompts")
    if not isinstance(system, str) or not isinstance(asked, list):
        raise BadInputError(f"{name}: give system_prompt as a text and user_prompts as a list")
    for number, one in enumerate(asked, 1):
        place = f"{name}: user_prompts {number}"
        content = one.get("content") if isinstance(one, dict) else None
        if not isinstance(content, str):
            raise BadInputError(f"{place}: holds no content")
        tag = one.get("question_tag")
        yield Row(own_id="" if tag is None else str(tag), body={"messages": _messages(system, content)}, place=place)


def _csv(name: str, text: str) -> Iterator[Row]:
    csv.field_size_limit(MOST_FIELD_CHARACTERS)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [column.strip().lower() for column in reader.fieldnames or ()]
    head = dict(zip(columns, reader.fieldnames or (), strict=True))
    prompt, tag, system = (_column(head, known) for known in (PROMPT_COLUMNS, ID_COLUMNS, SYSTEM_COLUMNS))
    if prompt is None:
        found = f": {','.join(columns)[:80]!r}; commas part columns" if columns else ""
        raise BadInputError(f"{name}:1: no column is named {', '.join(PROMPT_COLUMNS)}{found}")
    if twice := next((one for one in columns if columns.count(one) > 1 and head[one] in (prompt, tag, system)), None):
        raise BadInputError(f"{name}:1: two columns are named {twice}")
    try:
        for row in reader:
            content = row[prompt]
            if not content:
                raise BadInputError(f"{name}:{reader.line_num}: the column {prompt} is empty")
            messages = _messages((row[system] or "") if system else "", content)
            own_id = (row[tag] or "") if tag else ""
            yield Row(own_id=own_id, body={"messages": messages}, place=f"{name}:{reader.line_num}")
    except csv.Error as error:
        raise BadInputError(f"{name}:{reader.line_num}: {error}") from None


def _column(head: Mapping[str, str], known: tuple[str, ...]) -> str | None:
    return next((head[name] for name in known if name in head), None)


def _lines(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(own_id="", body={"messages": _messages("", line.strip())}, place=f"{name}:{number}")


def _messages(system: str, content: str) -> list[dict[str, str]]:
    said = [{"role": "system", "content": system}] if system else []
    return [*said, {"role": "user", "content": content}]


def _object(place: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{place}: is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadInputError(f"{place}: is no JSON object")
    return found
