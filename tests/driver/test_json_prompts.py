"""Every kind of JSON prompt people have: what it says is what is asked, and nothing of it is lost in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from driver.double import Answer, Double, prompt_of
from sizewell.driver.failures import ExchangeError
from sizewell.driver.prompt_files import read_rows
from sizewell.driver.replies import reply_of
from sizewell.specs.errors import BadInputError

Served = tuple[str, Double]
KINDS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "one"}]},
    "/v1/completions": {"prompt": "one"},
    "/v1/responses": {"input": "one"},
    "/v1/embeddings": {"input": "one"},
}


def _rows(here: Path, text: str, name: str = "p.jsonl") -> list[tuple[str, list[str], dict[str, Any]]]:
    """Return id, texts and further fields of each row."""
    (here / name).write_text(text)
    return [
        (row.own_id, [one["content"] for one in row.body["messages"]],
         {key: value for key, value in row.body.items() if key != "messages"})
        for row in read_rows(here / name)
    ]  # fmt: skip


def _request(url: str, body: dict[str, Any], **more: Any) -> str:
    return json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body, **more})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["none", "reasoning"])
@pytest.mark.usefixtures("here")
def test_every_kind_of_openai_batch_is_asked_where_it_says(
    say: Any, double: Served, stream: bool, dialect: Any
) -> None:
    double[1].script = lambda body, _: Answer(text=f"answer to {prompt_of(body)}", dialect=dialect)
    for number, (url, body) in enumerate(KINDS.items()):
        name = f"{number}.jsonl"
        Path(name).write_text(_request(url, body))
        words = ["--max-tokens", "9", *(["--stream"] if stream else [])]
        said = say("batch", name, "--url", double[0], *words, "--json")
        assert said.code == 0, said.err
        (line,) = [json.loads(each) for each in Path(f"{number}.answers.jsonl").read_text().splitlines()]
        vector = url == "/v1/embeddings"
        thought = "let me see" if dialect == "reasoning" and url not in ("/v1/embeddings", "/v1/completions") else ""
        assert (line["answer"], line["reasoning"]) == ("" if vector else "answer to one", thought)
        sent, used = double[1].bodies[-1], said.document["usage"]
        assert sent.get("max_output_tokens" if url == "/v1/responses" else "max_tokens") == (None if vector else 9)
        assert ("stream_options" in sent) == (stream and not vector and url != "/v1/responses")
        assert (used["output_tokens"], used["input_tokens"] > 0) == (0 if vector else 4, True)
        assert not said.document["unclosed_reasoning"]


def test_a_response_that_was_cut_or_calls_a_tool() -> None:
    whole = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}
    assert reply_of(whole, "").finish_reason == "length"
    called = {"status": "completed", "output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}
    assert (reply_of(called, "").finish_reason, reply_of(called, "").calls) == ("stop", True)
    with pytest.raises(ExchangeError, match="status in_progress"):
        reply_of({"status": "in_progress", "output": []}, "")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("https://api.openai.com/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_addresses_as_other_services_write_them(here: Path, url: str, path: str) -> None:
    (here / "p.jsonl").write_text(_request(url, KINDS["/v1/chat/completions"], method="post", custom_id=7))
    (row,) = read_rows(here / "p.jsonl")
    assert (row.path, row.own_id) == (path, "7")


def test_a_bare_line_may_use_the_names_of_columns_and_keeps_its_system_prompt(here: Path) -> None:
    """It went out as a field nobody reads, and the model was never told."""
    lines = [
        {"id": 1, "system_prompt": "be kind", "prompt": "one", "temperature": 0},
        {"question_tag": "b", "content": "two"},
        {"id": 3, "system": "be kind", "messages": [{"role": "user", "content": "three"}]},
    ]
    assert _rows(here, "\n".join(map(json.dumps, lines))) == [
        ("1", ["be kind", "one"], {"temperature": 0}), ("b", ["two"], {}), ("3", ["be kind", "three"], {}),
    ]  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_one_document_may_be_a_list_a_request_or_questions_with_fields(here: Path, indent: int | None) -> None:
    questions = {
        "system_prompt": "s", "temperature": 0.6, "note": "mine",
        "user_prompts": [{"question_tag": "a", "content": "one"}, {"content": "two", "temperature": 0}, "three"],
    }  # fmt: skip
    told = [("a", ["s", "one"], {"temperature": 0.6}), ("", ["s", "two"], {"temperature": 0})]
    found = _rows(here, json.dumps(questions, indent=indent), "p.json")
    assert found == [*told, ("", ["s", "three"], {"temperature": 0.6})]
    found = _rows(here, json.dumps([questions, {"prompt": "four"}, "five"], indent=indent), "p.json")
    assert [texts[-1] for _, texts, _ in found] == ["one", "two", "three", "four", "five"]
    request = json.loads(_request("/v1/chat/completions", KINDS["/v1/chat/completions"]))
    assert _rows(here, json.dumps(request, indent=indent), "p.json") == [("a", ["one"], {})]


def test_objects_of_questions_may_be_a_line_each(here: Path) -> None:
    lines = [{"user_prompts": [{"content": "one"}]}, {"user_prompts": [{"content": "two"}]}]
    assert [texts for _, texts, _ in _rows(here, "\n".join(map(json.dumps, lines)))] == [["one"], ["two"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_request("/v1/moderations", {"input": "x"}), "only POST to /v1/chat/completions, /v1/completions"),
        (_request("/v1/embeddings", {"messages": []}), "the body holds no input"),
        (_request("/v1/chat/completions", {"messages": []}, custom_id=[1]), "neither text nor number"),
        ('{"prompt": "one"}\n{"prom', "p.jsonl:2: is no JSON"),
        ('{"user_prompts": [{"question_tag": "a"}]}', "user_prompts 1: holds no content"),
        ('{"system_prompt": ["x"], "prompt": "one"}', "the system prompt is no text"),
        ("[1]", "item 1: is no JSON object"),
    ],
)
def test_what_cannot_be_meant_names_its_place(here: Path, text: str, says: str) -> None:
    (here / "p.jsonl").write_text(text)
    with pytest.raises(BadInputError, match=says):
        read_rows(here / "p.jsonl")
