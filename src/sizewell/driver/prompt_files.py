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
from typing import Literal, get_args

from sizewell.driver.json_prompts import (
    ID_COLUMNS,
    PROMPT_COLUMNS,
    REQUEST_FIELDS,
    SYSTEM_COLUMNS,
    json_rows,
    messages,
    parsed,
    plain_name,
    value_of,
)
from sizewell.driver.prompts import Row
from sizewell.specs.errors import BadInputError

Dialect = Literal["openai", "tagged", "csv", "lines"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
MOST_FILE_BYTES = 4 * 2**30
MOST_FIELD_CHARACTERS = 2**31 - 1
"""The most the reader of CSV can be told; its own limit of 131,072 is less than a prompt of 50,000 tokens."""
DELIMITERS = ",;\t"
GZIP_BEGINS, UTF16_BEGINS = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
OTHER_PACKERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd", b"7z\xbc": "7z"}
STDIN = Path("-")


def read_rows(path: Path, dialect: Dialect | None = None) -> list[Row]:
    """Return the rows of a file, or of standard input, whose name is `-`.

    `openai`: a JSON object a line, OpenAI Batch (`custom_id`, `url`, `body`) or `{"prompt": …}` or `{"messages": …}`;
    `tagged`: a JSON object `{system_prompt, user_prompts: [{question_tag, content}]}`; either may be one document, a
    list too; `csv`: a head with one of the columns prompt, content, user_prompt, question, text, cells parted by comma,
    semicolon or tab; `lines`: a prompt a line, blank ones left out. A file packed by gzip is unpacked.
    Raises BadInputError naming file and line, also for a file without any prompt.
    """
    text = _text(path)
    kind = dialect or _dialect(path, text)
    readers = {"openai": _json, "tagged": _json, "csv": _csv, "lines": _lines}
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
    coding, named = ("utf-16", "UTF-16") if data.startswith(UTF16_BEGINS) else ("utf-8-sig", "UTF-8")
    try:
        return data.decode(coding)
    except UnicodeDecodeError as error:
        packer = next((name for begins, name in OTHER_PACKERS.items() if data.startswith(begins)), None)
        if packer is not None:
            raise BadInputError(f"{path}: is packed by {packer}: unpack it, or pack it by gzip") from None
        said = f"is not {named} at byte {error.start}: convert it, perhaps with iconv -f WINDOWS-1252 -t UTF-8"
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
    begins, json_named = text.lstrip()[:1], suffix in (".json", ".jsonl")
    if begins == "{" or (begins == "[" and json_named):
        return "openai"
    if json_named and begins:
        raise BadInputError(f"{path}: holds no JSON object at its start; --dialect lines sends it line by line")
    return "lines"


def _csv(name: str, text: str) -> Iterator[Row]:
    csv.field_size_limit(MOST_FIELD_CHARACTERS)
    parts = _delimiter(text) or DELIMITERS[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=parts, strict=True)
    try:
        prompt, tag, system = _columns(name, reader.fieldnames or ())
        named = {plain_name(column): column for column in reader.fieldnames or ()}
        said = {field: named[field] for field in REQUEST_FIELDS if field in named}
        for row in reader:
            if not any(row.values()):
                continue  # spreadsheets end their tables in rows of commas
            content = row[prompt]
            if not content:
                raise BadInputError(f"{name}:{reader.line_num}: the column {prompt} is empty")
            if None in row:
                more = f"more cells than the head has: put quotes around a text with {parts!r} in it"
                raise BadInputError(f"{name}:{reader.line_num}: {more}")
            asked = messages((row[system] or "") if system else "", content)
            fields = {field: value_of(row[column]) for field, column in said.items() if row[column]}
            own_id = (row[tag] or "") if tag else ""
            yield Row(own_id=own_id, body={"messages": asked, **fields}, place=f"{name}:{reader.line_num}")
    except csv.Error as error:
        raise BadInputError(f"{name}: after line {reader.line_num}: {error}; is a quote left open?") from None


def _delimiter(text: str) -> str | None:
    """Return what parts the cells of a head that names the prompt; None where it parts none or names none."""
    head = text.partition("\n")[0].lower()
    cells = {mark: [plain_name(cell.strip(' "\r')) for cell in head.split(mark)] for mark in DELIMITERS if mark in head}
    return next((mark for mark, names in cells.items() if set(names) & set(PROMPT_COLUMNS)), None)


def _columns(name: str, names: Sequence[str]) -> tuple[str, str | None, str | None]:
    """Return the columns of prompt, id and system prompt, as the head writes them."""
    columns = [plain_name(column) for column in names]
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
            yield Row(own_id="", body={"messages": messages("", line.strip())}, place=f"{name}:{number}")


def _json(name: str, text: str) -> Iterator[Row]:
    """Yield the rows of JSON lines, or of one document that goes on over several lines."""
    first = next((line for line in _split(text) if line.strip()), "")
    if not _is_json(first):
        yield from json_rows(name, parsed(name, text))
        return
    for number, line in enumerate(_split(text), 1):
        if line.strip():
            place = f"{name}:{number}"
            yield from json_rows(place, parsed(place, line))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _split(text: str) -> Iterator[str]:
    """Yield the lines of a text, which may be larger than what is left of memory; only LF ends one."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]
