"""Prompts as JSON: OpenAI Batch lines, bare lines, and the object of one system prompt and many questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from sizewell.driver.prompts import ASKS, CHAT, COMPLETIONS, Row
from sizewell.specs.errors import BadInputError

PROMPT_COLUMNS = ("prompt", "content", "user_prompt", "question", "text")
ID_COLUMNS = ("custom_id", "question_tag", "id", "tag")
SYSTEM_COLUMNS = ("system_prompt", "system")
REQUEST_FIELDS = (
    "model", "max_tokens", "max_completion_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "seed",
    "stop", "presence_penalty", "frequency_penalty", "repetition_penalty", "reasoning_effort", "response_format",
    "chat_template_kwargs",
)  # fmt: skip
"""Names beside a prompt that are the request's, also where other columns are the user's own."""
VERSION = "/v1"


def json_rows(place: str, found: object) -> Iterator[Row]:
    """Yield the rows of one JSON value: a request, an object of `user_prompts`, or a list of either.

    Raises BadInputError naming the place.
    """
    if isinstance(found, list):
        for number, one in enumerate(found, 1):
            yield from json_rows(f"{place}: item {number}", {"prompt": one} if isinstance(one, str) else one)
    elif not isinstance(found, dict):
        raise BadInputError(f"{place}: is no JSON object")
    elif "user_prompts" in found:
        yield from _tagged(place, found)
    else:
        yield _request(place, found) if "body" in found else _bare(place, found)


def parsed(place: str, text: str) -> Any:
    """Return a text as JSON; raises BadInputError where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = f"{place}: is no JSON: {error}; --dialect lines sends it line by line"
        raise BadInputError(said) from None


def plain_name(column: str) -> str:
    """Return a column's name as fields are written: `User Prompt` is `user_prompt`."""
    return column.strip().lower().replace(" ", "_")


def value_of(cell: str) -> Any:
    """Return what a cell says: a number or other JSON, else the text."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def messages(system: str, content: str) -> list[dict[str, str]]:
    """Return the messages that ask something."""
    said = [{"role": "system", "content": system}] if system else []
    return [*said, {"role": "user", "content": content}]


def _request(place: str, row: Mapping[str, Any]) -> Row:
    own_id = _own_id(place, row, "custom_id")
    method, url, body = str(row.get("method", "POST")), str(row.get("url", CHAT)), row["body"]
    path = urlsplit(url).path.rstrip("/")
    path = path if path.startswith(VERSION) else VERSION + path  # Azure's files leave it out
    if method.upper() != "POST" or path not in ASKS:
        raise BadInputError(f"{place}: {method[:9]} {url[:80]}: only POST to {', '.join(ASKS)}")
    if not isinstance(body, dict) or ASKS[path] not in body:
        raise BadInputError(f"{place}: the body holds no {ASKS[path]}, which is what {path} is asked with")
    return Row(own_id=own_id, body=body, place=place, path=path)


def _own_id(place: str, row: Mapping[str, Any], name: str) -> str:
    own_id = row.get(name, "")
    if not isinstance(own_id, str | int):
        raise BadInputError(f"{place}: {name} {str(own_id)[:40]!r} is neither text nor number")
    return str(own_id)


def _bare(place: str, row: Mapping[str, Any]) -> Row:
    """Return a line without a body: id, system prompt and prompt may have any name a column has; all else is a field
    of the request."""
    fields = dict(row)
    named = next((name for name in ID_COLUMNS if name in row), "")
    own_id = _own_id(place, fields, named)
    fields.pop(named, None)
    system = fields.pop(next((name for name in SYSTEM_COLUMNS if name in fields), ""), None) or ""
    if not isinstance(system, str):
        raise BadInputError(f"{place}: the system prompt is no text")
    if isinstance(fields.get("messages"), list):
        before = messages(system, "")[:-1]
        return Row(own_id=own_id, body=fields | {"messages": [*before, *fields["messages"]]}, place=place)
    prompt = fields.pop(next((name for name in PROMPT_COLUMNS if fields.get(name) is not None), ""), None)
    if prompt is None:
        said = f": it has {', '.join(map(repr, list(row)[:3]))}" if row else ""
        raise BadInputError(f"{place}: holds no body, no messages and no prompt{said}; docs/drive.md has the forms")
    if not isinstance(prompt, str):
        raise BadInputError(f"{place}: the prompt is no text: token ids go into a body, with url {COMPLETIONS}")
    return Row(own_id=own_id, body={"messages": messages(system, prompt), **fields}, place=place)


def _tagged(place: str, whole: Mapping[str, Any]) -> Iterator[Row]:
    system, asked = whole.get("system_prompt") or "", whole["user_prompts"]
    if not isinstance(system, str) or not isinstance(asked, list):
        raise BadInputError(f"{place}: give system_prompt as a text and user_prompts as a list")
    for number, one in enumerate(asked, 1):
        at = f"{place}: user_prompts {number}"
        content = one.get("content") if isinstance(one, dict) else one
        if not isinstance(content, str):
            raise BadInputError(f"{at}: holds no content")
        own: Mapping[str, Any] = one if isinstance(one, dict) else {}
        tag = own.get("question_tag")
        fields = {name: said[name] for said in (whole, own) for name in REQUEST_FIELDS if name in said}
        body = {"messages": messages(system, content), **fields}
        yield Row(own_id="" if tag is None else str(tag), body=body, place=at)
