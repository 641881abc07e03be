"""`sizewell batch` against a real vLLM: thinking apart, tokens counted, errors kept as it words them, nothing lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from served_vllm import Served, serving

pytestmark = pytest.mark.real
WINDOW, TOKENS, BUDGET = 16, 40, 10
TEMPLATE_TOKENS = 5
"""What the tiny model's template adds to a question: begin, user, assistant, the opening tag and a line end."""
PATIENCE_S = 120.0


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a batch over `p.jsonl`."""
    command = [sys.executable, "-m", "sizewell", "batch", "p.jsonl", "--window", str(WINDOW), *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked(folder: Path, *words: str) -> tuple[int, Any, str]:
    """Run a batch to its end; return its exit code, its document and its talk."""
    done = started(folder, "--json", *words)
    out, talk = done.communicate(timeout=PATIENCE_S)
    return done.returncode, json.loads(out) if out else None, talk


def write(folder: Path, count: int, **fields: Any) -> dict[str, str]:
    """Write numbered prompts and return them by their ids."""
    prompts = {f"q{number}": f"Question {number}?" for number in range(count)}
    rows = [{"custom_id": name, "prompt": text, "max_tokens": TOKENS, **fields} for name, text in prompts.items()]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prompts


def kept(folder: Path, what: str = "answers") -> list[dict[str, Any]]:
    """Return the whole lines of a file of results, as they are while a batch runs."""
    path = folder / f"p.{what}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def until_kept(folder: Path, count: int) -> None:
    """Wait until so many answers are kept."""
    deadline = time.monotonic() + PATIENCE_S
    while len(kept(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_thinking_is_kept_apart_and_every_token_counted(vllm: Served, tmp_path: Path, stream: bool) -> None:
    prompts = write(tmp_path, 24, ignore_eos=True, thinking_token_budget=BUDGET)
    code, found, talk = asked(tmp_path, "--url", vllm.url, *(["--stream"] if stream else []))
    assert code == 0, talk
    assert found["usage"]["input_tokens"] == sum(len(text) + TEMPLATE_TOKENS for text in prompts.values())
    assert found["usage"]["output_tokens"] == TOKENS * len(prompts)
    # Tokens of a random model: a closing tag may come first of all, or nothing be left that its parser calls content.
    assert found["with_reasoning"] >= 0.8 * len(prompts)
    assert sum(bool(line["answer"]) for line in kept(tmp_path)) >= 0.6 * len(prompts)
    for line in kept(tmp_path):
        message = line["response"]["body"]["choices"][0]["message"]
        # Where the parser found no thinking, tags that a random model writes later are read as if there were no parser.
        if message.get("reasoning"):
            assert line["answer"] == (message["content"] or "")
            assert line["reasoning"] == message["reasoning"]
            assert len(line["reasoning"].replace("<think>", "")) <= BUDGET


@pytest.mark.parametrize("stream", [True, False])
def test_responses_are_asked_where_their_lines_say(vllm: Served, tmp_path: Path, stream: bool) -> None:
    """OpenAI's newer address: other fields, other events, and the same answer file."""
    body = {"input": "Question?", "temperature": 0.0}
    rows = [{"custom_id": f"r{number}", "url": "/v1/responses", "body": body} for number in range(3)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--model", "tiny", "--max-tokens", str(TOKENS), *(["--stream"] if stream else []))
    code, found, talk = asked(tmp_path, "--url", vllm.url, *words)
    assert code == 0, talk
    assert 0 < found["usage"]["output_tokens"] <= TOKENS * len(rows)
    assert found["usage"]["input_tokens"] > 0
    for line in kept(tmp_path):
        assert line["response"]["body"]["object"] == "response"
        assert line["finish_reason"] in ("stop", "length")
        assert line["answer"] or line["reasoning"]


def test_thinking_that_never_ends_is_warned_of(vllm: Served, tmp_path: Path) -> None:
    # Neither tag: behind an opening one the parser forgets what came before, and nothing may come after.
    write(tmp_path, 4, ignore_eos=True, logit_bias={"260": -100, "261": -100})
    code, found, talk = asked(tmp_path, "--url", vllm.url)
    assert (code, found["unclosed_reasoning"]) == (0, 4)
    assert "ended while thinking" in talk


def test_killed_twice_it_asks_only_what_is_left(vllm: Served, tmp_path: Path) -> None:
    prompts = write(tmp_path, 600, ignore_eos=True)  # seconds of work left, should this process be kept waiting
    for enough in (30, 80):
        running = started(tmp_path, "--url", vllm.url)
        until_kept(tmp_path, enough)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    before = kept(tmp_path)
    code, found, talk = asked(tmp_path, "--url", vllm.url)
    assert code == 0, talk
    assert found["answered_before"] == len(before) < len(prompts), "the kills came while it ran"
    assert found["answered"] == len(prompts) - len(before)
    assert sorted(line["custom_id"] for line in kept(tmp_path)) == sorted(prompts)
    assert found["usage"]["output_tokens"] == TOKENS * len(prompts)


@pytest.mark.parametrize(
    ("wrong", "code", "says"),
    [
        ({"max_tokens": 100_000}, "http_400", "max_tokens=100000 cannot be greater than max_model_len"),
        ({"temperature": -1}, "http_400", "temperature must be non-negative"),
        ({"model": "nobody"}, "http_404", "`nobody` does not exist"),
        ({"prompt": "x" * 3000}, "http_400", "maximum context length"),
    ],
)
def test_a_refusal_is_asked_once_and_kept_in_the_servers_words(
    vllm: Served, tmp_path: Path, wrong: dict[str, Any], code: str, says: str
) -> None:
    rows = [{"custom_id": "good", "prompt": "hello"}, {"custom_id": "bad", "prompt": "hello", **wrong}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"max_tokens": 4, **row}) + "\n" for row in rows))
    ended, found, _ = asked(tmp_path, "--url", vllm.url)
    assert (ended, found["answered"], found["failed"], found["retried"]) == (1, 1, 1, 0)
    (line,) = kept(tmp_path, "errors")
    assert (line["custom_id"], line["error"]["code"]) == ("bad", code)
    assert says in line["error"]["message"]


def test_a_dead_engine_loses_nothing(vllm: Served, tiny_model: Path, tmp_path: Path) -> None:
    """Killed in the middle, an engine ends the batch with 5; another server answers the rest, and nothing twice."""
    prompts = write(tmp_path, 600, ignore_eos=True)
    (tmp_path / "engine").mkdir()
    with serving(tiny_model, tmp_path / "engine") as doomed:
        running = started(tmp_path, "--url", doomed.url)
        until_kept(tmp_path, 40)
        doomed.kill_engine_core()
        _, talk = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 5, talk
        assert "no server answers any more" in talk
        assert doomed.process.wait(PATIENCE_S) == 0, "it exits with 0: nobody shall take that for success"
    # While it dies it answers with 500, on a busy machine for as long as the tries of a prompt last.
    assert {line["error"]["code"] for line in kept(tmp_path, "errors")} <= {"http_500"}
    before = kept(tmp_path)
    assert 40 <= len(before) < len(prompts)
    code, found, talk = asked(tmp_path, "--url", vllm.url)
    assert code == 0, talk
    assert found["answered_before"] == len(before)
    assert sorted(line["custom_id"] for line in kept(tmp_path)) == sorted(prompts)
