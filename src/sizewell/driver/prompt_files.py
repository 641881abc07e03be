"""Files of prompts in the dialects people have, told apart by what they hold."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
DELIMITERS = ",;\t"
GZIP_BEGINS, UTF16_BEGINS = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
STDIN = Path("-")


def read_rows(path: Path, dialect: Dialect | None = None) -> list[Row]:
    """Return the rows of a file, or of standard input, whose name is `-`.

    `openai`: a JSON object a line, OpenAI Batch (`custom_id`, `url`, `body`) or `{"prompt": …}` or `{"messages": …}`;
    `tagged`: one JSON object `{system_prompt, user_prompts: [{question_tag, content}]}`; `csv`: a head with one of the
    columns prompt, content, user_prompt, question, text, cells parted by comma, semicolon or tab; `lines`: a prompt a
    line, blank ones left out. A file packed by gzip is unpacked.
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
        if path.is_file() and path.stat().st_size > MOST_FILE_BYTES:
            raise BadInputError(f"{path}: larger than {MOST_FILE_BYTES / 2**30:g} GiB: cut it into several")
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    if data.startswith(GZIP_BEGINS):
        data = _unzipped(path, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        coded = "UTF-16" if data.startswith(UTF16_BEGINS) else "WINDOWS-1252"
        said = f"is not UTF-8 at byte {error.start}: convert it, perhaps with iconv -f {coded} -t UTF-8"
        raise BadInputError(f"{path}: {said}") from None


def _unzipped(path: Path, data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(MOST_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: cannot be unzipped: {error}") from None
    if len(found) > MOST_FILE_BYTES:
        raise BadInputError(f"{path}: larger than {MOST_FILE_BYTES / 2**30:g} GiB unzipped: cut it into several")
    return found


def stem_of(path: Path) -> str:
    """Return what files that belong to a file of prompts are called after: `p` for `p.jsonl` and `p.jsonl.gz`."""
    return "stdin" if path == STDIN else _without_gz(path).stem


def _without_gz(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def _dialect(path: Path, text: str) -> Dialect:
    suffix = _without_gz(path).suffix.lower()
    if suffix in (".csv", ".tsv") or (path == STDIN and _delimiter(text) is not None):
        return "csv"
    begins = text.lstrip()[:1]
    if begins != "{":
        if suffix in (".json", ".jsonl") and begins:
            hint = "a list: write an object a line (jq -c .[])" if begins == "[" else "no JSON object at its start"
            raise BadInputError(f"{path}: holds {hint}; --dialect lines sends it line by line")
        return "lines"
    first = next(line for line in _split(text) if line.strip())
    try:
        return "openai" if "user_prompts" not in json.loads(first) else "tagged"
    except ValueError:
        return "tagged"  # an object that goes on over several lines


def _openai(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(_split(text), 1):
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
        said = f": it has {', '.join(map(repr, list(row)[:3]))}" if row else ""
        raise BadInputError(f"{place}: holds no body, no messages and no prompt{said}; docs/drive.md has the forms")
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
    parts = _delimiter(text) or DELIMITERS[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=parts, strict=True)
    try:
        prompt, tag, system = _columns(name, reader.fieldnames or ())
        for row in reader:
            content = row[prompt]
            if not content:
                raise BadInputError(f"{name}:{reader.line_num}: the column {prompt} is empty")
            if None in row:
                said = f"more cells than the head has: put quotes around a text with {parts!r} in it"
                raise BadInputError(f"{name}:{reader.line_num}: {said}")
            messages = _messages((row[system] or "") if system else "", content)
            own_id = (row[tag] or "") if tag else ""
            yield Row(own_id=own_id, body={"messages": messages}, place=f"{name}:{reader.line_num}")
    except csv.Error as error:
        raise BadInputError(f"{name}: after line {reader.line_num}: {error}; is a quote left open?") from None


def _delimiter(text: str) -> str | None:
    """Return what parts the cells of a head that names the prompt; None where it parts none or names none."""
    head = text.partition("\n")[0].lower()
    cells = {mark: [cell.strip(' "\r') for cell in head.split(mark)] for mark in DELIMITERS if mark in head}
    return next((mark for mark, names in cells.items() if set(names) & set(PROMPT_COLUMNS)), None)


def _columns(name: str, names: Sequence[str]) -> tuple[str, str | None, str | None]:
    """Return the columns of prompt, id and system prompt, as the head writes them."""
    columns = [column.strip().lower() for column in names]
    head = dict(zip(columns, names, strict=True))
    prompt, tag, system = (_column(head, known) for known in (PROMPT_COLUMNS, ID_COLUMNS, SYSTEM_COLUMNS))
    if prompt is None:
        found = f": {','.join(columns)[:80]!r}" if columns else ""
        raise BadInputError(f"{name}:1: no column is named {', '.join(PROMPT_COLUMNS)}{found}")
    if twice := next((one for one in columns if columns.count(one) > 1 and head[one] in (prompt, tag, system)), None):
        raise BadInputError(f"{name}:1: two columns are named {twice}")
    return prompt, tag, system


def _column(head: Mapping[str, str], known: tuple[str, ...]) -> str | None:
    return next((head[name] for name in known if name in head), None)


def _lines(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(_split(text), 1):
        if line.strip():
            yield Row(own_id="", body={"messages": _messages("", line.strip())}, place=f"{name}:{number}")


def _split(text: str) -> Iterator[str]:
    """Yield the lines of a text, which may be larger than what is left of memory; only LF ends one."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


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
