"""`sizewell batch` against a server that misbehaves: every prompt ends in exactly one file, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell
from driver.double import Answer, Dialect, Double, Fault, plain, prompt_of, running
from sizewell.driver import answers, client

Served = tuple[str, Double]


def _lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def _answers(path: str = "prompts.answers.jsonl") -> dict[str, str]:
    return {line["custom_id"]: line["answer"] for line in _lines(path)}


def _write(name: str, *prompts: str) -> str:
    Path(name).write_text("\n".join(prompts) + "\n")
    return name


OPENAI = "\n".join(
    json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})
    for name, body in [
        ("a", {"messages": [{"role": "user", "content": "one"}]}),
        ("b", {"messages": [{"role": "user", "content": "two"}], "temperature": 0}),
    ]
)
TAGGED = json.dumps(
    {
        "system_prompt": "be kind",
        "user_prompts": [{"question_tag": "a", "content": "one"}, {"question_tag": "b", "content": "two"}],
    },
    indent=1,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prompts.jsonl", OPENAI),
        ("prompts.json", TAGGED),
        ("prompts.csv", 'custom_id,prompt\na,one\nb,"two"\n'),
        ("prompts.jsonl", '{"custom_id": "a", "prompt": "one"}\r\n\r\n{"custom_id": "b", "prompt": "two"}'),
    ],
)
@pytest.mark.usefixtures("here")
def test_every_dialect_is_told_and_answered_under_its_own_ids(say: Any, double: Served, name: str, text: str) -> None:
    Path(name).write_text(text)
    said = say("batch", name, "--url", double[0])
    assert said.code == 0, said.err
    assert _answers() == {"a": "answer to one", "b": "answer to two"}


@pytest.mark.usefixtures("here")
def test_the_system_prompt_model_and_fields_are_sent(say: Any, double: Served) -> None:
    Path("p.json").write_text(TAGGED)
    say("batch", "p.json", "--url", double[0] + "/v1/chat/completions", "--max-tokens", "7", "--field", "top_p=0.5")
    body = double[1].bodies[0]
    assert body["messages"][0] == {"role": "system", "content": "be kind"}
    assert (body["model"], body["max_tokens"], body["top_p"]) == ("double", 7, 0.5)


@pytest.mark.usefixtures("here")
def test_a_model_that_is_named_is_asked_whatever_rows_say(say: Any, double: Served) -> None:
    """Files written for another service name its models."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "one"}]}
    Path("p.jsonl").write_text(json.dumps({"custom_id": "a", "body": body}))
    for words in ((), ("--model", "ours")):
        assert say("batch", "p.jsonl", "--url", double[0], *words).code == 0
    assert [body["model"] for body in double[1].bodies] == ["gpt-4o-mini", "ours"]
    double[1].script = lambda _body, _number: Answer(status=404, error="The model `gpt-4o-mini` does not exist.")
    said = say("batch", "p.jsonl", "--url", double[0], "-o", "again.jsonl")
    assert (said.code, "--model NAME asks for another model than rows say" in said.out) == (1, True)


@pytest.mark.usefixtures("here")
def test_what_is_answered_is_not_asked_again_however_the_input_moves(say: Any, double: Served) -> None:
    say("batch", _write("prompts.txt", "one", "two", "three"), "--url", double[0])
    say("batch", _write("prompts.txt", "four", "three", "one", "five"), "--url", double[0])
    assert sorted(double[1].seen) == ["five", "four", "one", "three", "two"]
    say("batch", "prompts.txt", "--url", double[0], "--temperature", "0.5")
    assert len(double[1].seen) == 9, "other sampling asks again"


@pytest.mark.usefixtures("here")
def test_equal_lines_are_asked_each_and_equal_ids_once(say: Any, double: Served) -> None:
    say("batch", _write("prompts.txt", "same", "same", "other"), "--url", double[0])
    assert sorted(double[1].seen) == ["other", "same", "same"]
    say("batch", "prompts.txt", "--url", double[0])
    assert len(double[1].seen) == 3
    row = '{"custom_id": "a", "prompt": "one"}'
    said = say("batch", _write("twice.jsonl", row, row), "--url", double[0])
    assert "1 rows repeat" in said.err
    assert double[1].seen.count("one") == 1
    said = say("batch", _write("twice.jsonl", row, row.replace("one", "two")), "--url", double[0])
    assert said.code == 2
    assert "twice.jsonl:2" in said.complaint


@pytest.mark.parametrize("fault", ["reset", "truncate", "malformed", "error-event", 429, 500, 503, 408])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.usefixtures("here", "impatient")
def test_passing_trouble_is_survived(say: Any, double: Served, fault: Fault | int, stream: bool) -> None:
    failed: set[str] = set()

    def script(body: dict[str, Any], number: int) -> Answer:
        if prompt_of(body) in failed or (fault == "error-event" and not stream):
            return plain(body, number)
        failed.add(prompt_of(body))
        return Answer(status=fault, error="busy") if isinstance(fault, int) else Answer(text="x" * 30, fault=fault)

    double[1].script = script
    prompts = [f"prompt {number}" for number in range(20)]
    said = say(
        "batch", _write("prompts.txt", *prompts), "--url", double[0], *(["--stream"] if stream else []), "--json"
    )
    assert said.code == 0, said.err
    assert sorted(_answers().values()) == sorted(f"answer to {prompt}" for prompt in prompts)
    assert said.document["retried"] == (0 if fault == "error-event" and not stream else 20)
    assert Path("prompts.errors.jsonl").read_text() == ""


@pytest.mark.usefixtures("here", "impatient")
def test_a_refused_request_is_asked_once_and_kept_apart(say: Any, double: Served) -> None:
    double[1].script = lambda body, number: (
        Answer(status=400, error="too\n\x1b[31mlong") if prompt_of(body) == "bad" else plain(body, number)
    )
    said = say("batch", _write("prompts.txt", "good", "bad"), "--url", double[0])
    assert said.code == 1
    assert double[1].seen.count("bad") == 1
    (error,) = _lines("prompts.errors.jsonl")
    assert error["error"] == {"code": "http_400", "message": "too\n\x1b[31mlong"}
    assert "the first error: too [31mlong\n" in said.out
    assert list(_answers().values()) == ["answer to good"]
    double[1].script = plain
    assert say("batch", "prompts.txt", "--url", double[0]).code == 0
    assert Path("prompts.errors.jsonl").read_text() == ""
    assert double[1].seen.count("good") == 1


@pytest.mark.parametrize("fault", ["stall", "slow-headers"])
@pytest.mark.usefixtures("here", "impatient")
def test_a_stalled_answer_runs_into_its_limit(say: Any, double: Served, fault: Fault) -> None:
    double[1].script = lambda *_: Answer(text="never", fault=fault)
    said = say("batch", _write("p.txt", "a"), "--url", double[0], "--timeout", "100ms", "--retries", "1", "--stream")
    assert said.code == 1
    assert [line["error"]["code"] for line in _lines("p.errors.jsonl")] == ["timeout"]
    assert len(double[1].seen) == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", ["reasoning", "reasoning_content", "tags", "unopened"])
@pytest.mark.usefixtures("here")
def test_reasoning_is_kept_apart_in_every_dialect(say: Any, double: Served, dialect: Dialect, stream: bool) -> None:
    double[1].script = lambda *_: Answer(text="ja, natürlich ☃", think="überlegen", dialect=dialect, cut_bytes=7)
    said = say("batch", _write("p.txt", "a"), "--url", double[0], *(["--stream"] if stream else []))
    (line,) = _lines("p.answers.jsonl")
    assert (line["reasoning"], line["answer"]) == ("überlegen", "ja, natürlich ☃")
    assert "warning" not in said.err


@pytest.mark.usefixtures("here")
def test_how_many_answers_have_reasoning_is_said_where_none_has(say: Any, double: Served) -> None:
    """A server that was started without its parser for reasoning gives none, and is no mixture to warn of."""
    said = say("batch", _write("p.txt", "one", "two"), "--url", double[0])
    assert "with reasoning: 0 of 2 answers now" in said.out


@pytest.mark.usefixtures("here")
def test_missing_and_unclosed_reasoning_are_counted(say: Any, double: Served) -> None:
    forms: dict[str, Dialect] = {"a": "reasoning", "b": "none", "c": "unclosed"}
    double[1].script = lambda body, _: Answer(text="yes", dialect=forms[prompt_of(body)])
    said = say("batch", _write("p.txt", *forms), "--url", double[0], "--json")
    counts = [said.document[name] for name in ("with_reasoning", "without_reasoning", "unclosed_reasoning")]
    assert counts == [2, 1, 1]
    assert "1 of 3 answers came without reasoning" in said.err


@pytest.mark.usefixtures("here")
def test_the_document_obeys_its_schema(say: Any, double: Served) -> None:
    schema = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "batch.json").read_text())
    said = say("batch", _write("p.txt", "a"), "--url", double[0], "--json", "--usd-per-hour", "$10")
    jsonschema.Draft202012Validator(schema).validate(said.document)


@pytest.mark.usefixtures("here")
def test_the_window_is_kept_full_and_never_exceeded(say: Any, double: Served) -> None:
    slow = {"prompt 0"}
    double[1].script = lambda body, _: Answer(text="x", delay_s=0.5 if prompt_of(body) in slow else 0.01)
    prompts = [f"prompt {number}" for number in range(100)]
    said = say("batch", _write("p.txt", *prompts), "--url", double[0], "--window", "5", "--json")
    assert double[1].most_in_flight == 5
    assert said.document["elapsed_s"] < 0.5 + 0.35, "one slow answer must not hold up the others"


@pytest.mark.usefixtures("here")
def test_the_window_comes_from_the_server_or_the_plan(say: Any, double: Served) -> None:
    double[1].settings = {"server_args": {"max_running_requests": 48}}
    words = ("batch", _write("p.txt", "a"), "--url", double[0], "--json")
    assert say(*words).document["window"] == 48
    pools = [{"role": "both", "replicas": 2, "settings": {"max_num_seqs": 112}}]
    Path("plan.json").write_text(json.dumps({"plans": [{"deployment": {"pools": pools}}]}))
    assert say(*words, "--plan", "plan.json").document["window"] == 224
    assert say(*words, "--window", "3").document["window"] == 3


@pytest.mark.usefixtures("here")
def test_no_output_ever_holds_the_key(say: Any, double: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    key = 'sk-"very\\secret'
    monkeypatch.setenv("SIZEWELL_API_KEY", key)
    double[1].script = lambda body, _: (
        Answer(status=401, error=f"bad key {key}") if prompt_of(body) == "a" else Answer(text=f"your key is {key}")
    )
    said = say("batch", _write("p.txt", "a", "b"), "--url", double[0])
    assert double[1].headers[0]["authorization"] == f"Bearer {key}"
    written = "".join(path.read_text() for path in Path().iterdir()) + said.out + said.err
    assert "very" not in written
    assert written.count("[API key]") == 4, "the error, as kept and as shown; the answer's body and its text"


@pytest.mark.usefixtures("here")
def test_a_key_that_is_a_word_leaves_a_file_that_goes_on(
    say: Any, double: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    double[1].script = lambda *_: Answer(text="the key is under the mat")
    for asked in (1, 1):
        assert say("batch", _write("p.txt", "a"), "--url", double[0]).code == 0
        assert len(double[1].seen) == asked
    assert _lines("p.answers.jsonl")[0]["answer"] == "the key is under the mat"


@pytest.mark.usefixtures("here")
def test_where_files_have_no_locks_it_says_so_and_goes_on(
    say: Any, double: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(answers.fcntl, "flock", refuse)
    said = say("batch", _write("p.txt", "a"), "--url", double[0])
    assert (said.code, "start no second batch on it" in said.err) == (0, True)


@pytest.mark.usefixtures("here")
def test_a_disk_that_fills_is_named_and_the_next_run_goes_on(
    say: Any, double: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = answers.os.write, [600]

    def until_full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: left[0]]
        left[0] -= len(part)
        return write(file, part)

    words = ("batch", _write("prompts.txt", "one", "two", "three"), "--url", double[0], "--window", "1")
    with monkeypatch.context() as full:
        full.setattr(answers.os, "write", until_full)
        said = say(*words)
    assert (said.code, "prompts.answers.jsonl cannot be written: No space left" in said.err) == (1, True), said.err
    assert say(*words).code == 0
    assert sorted(_answers().values()) == ["answer to one", "answer to three", "answer to two"]


@pytest.fixture
def few_files() -> Iterator[None]:
    """A process that may open few files more than it has, and by no means many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("here", "few_files")
def test_a_window_wider_than_a_shells_limit_of_files(say: Any, double: Served) -> None:
    """The limit is raised as far as is allowed: such a batch once ended as if the server were gone."""
    double[1].script = lambda body, _: Answer(text=prompt_of(body), delay_s=0.3)
    said = say("batch", _write("p.txt", *map(str, range(400))), "--url", double[0], "--window", "400", "--json")
    assert (said.code, said.document["answered"], said.document["retried"]) == (0, 400, 0)


@pytest.mark.usefixtures("here")
def test_a_window_wider_than_all_files_is_refused(say: Any, double: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_FILES", 100)
    monkeypatch.setattr(client, "getrlimit", lambda _: (100, 100))
    words = ("--url", double[0], "--window", "40")
    said = say("batch", _write("p.txt", *map(str, range(40))), *words)
    assert (said.code, "40 connections at once are more than the 36" in said.err) == (2, True)
    assert say("bench", "--url", double[0], "--concurrency", "1,40").code == 2


@pytest.mark.parametrize(("instead", "place"), [(False, "p.answers.jsonl"), (True, "p.answers.jsonl.rescued")])
@pytest.mark.usefixtures("here")
def test_answers_deleted_while_they_are_written_are_written_again(
    say: Any, double: Served, instead: bool, place: str
) -> None:
    """An editor that saves the file deletes it, too: the rest went where nobody could read it."""

    def script(body: dict[str, Any], number: int) -> Answer:
        if number == 5:
            Path("p.answers.jsonl").unlink()
            if instead:
                Path("p.answers.jsonl").write_text("somebody's own\n")
        return plain(body, number)

    double[1].script = script
    said = say("batch", _write("p.txt", *map(str, range(9))), "--url", double[0], "--window", "1")
    assert (said.code, f"the answers are in {place}" in said.err) == (0, True)
    assert len(_lines(place)) == 9
    assert not instead or Path("p.answers.jsonl").read_text() == "somebody's own\n"


@pytest.mark.usefixtures("here")
def test_a_redirect_is_named_and_not_followed(say: Any, double: Served) -> None:
    double[1].script = lambda *_: Answer(status=308, headers={"Location": "https://elsewhere/v1"})
    said = say("batch", _write("p.txt", "a"), "--url", double[0], "--json")
    assert (said.code, len(double[1].seen)) == (1, 1)
    assert "redirected to https://elsewhere/v1" in said.document["first_error"]


@pytest.mark.usefixtures("here", "impatient")
def test_a_node_that_is_off_is_a_lost_server(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers no SYN: a listener whose queue is full does neither."""
    monkeypatch.setattr(client, "CONNECT_S", 0.05)
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        said = say("batch", _write("p.txt", "a", "b"), "--url", url, "--model", "m", "--retries", "1", "--json",
                   "--window", "2")  # fmt: skip
    assert (said.code, said.document["failed"], said.document["left"]) == (5, 0, 2)


@pytest.mark.usefixtures("here")
def test_a_long_error_is_cut_after_the_key_is_taken_out(
    say: Any, double: Served, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("SIZEWELL_API_KEY", "sk-secret-0123456789")
    double[1].script = lambda *_: Answer(status=400, error="x" * 1990 + "sk-secret-0123456789" + "y" * 9000)
    say("batch", _write("p.txt", "a"), "--url", double[0])
    (line,) = _lines("p.errors.jsonl")
    assert "sk-" not in line["error"]["message"]
    assert len(line["error"]["message"]) == 2000


@pytest.mark.usefixtures("here")
def test_shards_cover_the_input_once(say: Any, double: Served) -> None:
    prompts = [f"prompt {number}" for number in range(40)]
    _write("p.txt", *prompts)
    for index in range(3):
        assert say("batch", "p.txt", "--url", double[0], "--shard", f"{index}/3").code == 0
    assert sorted(double[1].seen) == sorted(prompts)
    assert sum(len(_lines(f"p.{index}-of-3.answers.jsonl")) for index in range(3)) == 40


@pytest.mark.usefixtures("here")
def test_answers_come_in_input_order_on_request(say: Any, double: Served) -> None:
    double[1].script = lambda body, number: Answer(text=prompt_of(body), delay_s=0.05 if number % 2 else 0.0)
    prompts = [str(number) for number in range(20)]
    say("batch", _write("p.txt", *prompts), "--url", double[0], "--ordered", "ordered.jsonl")
    assert [line["answer"] for line in _lines("ordered.jsonl")] == prompts
    assert [line["answer"] for line in _lines("p.answers.jsonl")] != prompts


@pytest.mark.usefixtures("here", "impatient")
def test_few_prompts_for_dead_servers_are_no_failures_of_theirs(say: Any) -> None:
    """Too few to fail many times in a row: what nobody could be asked is left for the next run."""
    dead = ("--url", "http://127.0.0.1:9", "--url", "http://127.0.0.2:9", "--model", "m", "--retries", "1")
    said = say("batch", _write("prompts.txt", "one", "two"), *dead, "--json")
    assert said.code == 5
    assert (said.document["failed"], said.document["left"]) == (0, 2)
    assert "cannot connect" in said.document["lost_server"]


@pytest.mark.usefixtures("here", "impatient")
def test_a_dead_server_beside_a_slow_one_does_not_end_the_batch(say: Any, double: Served) -> None:
    double[1].script = lambda body, number: Answer(text="late", delay_s=0.5)
    words = ("--url", double[0], "--url", "http://127.0.0.1:9", "--model", "m", "--window", "2")
    said = say("batch", _write("prompts.txt", *map(str, range(4))), *words, "--retries", "100", "--json")
    assert (said.code, said.document["answered"]) == (0, 4)


@pytest.mark.usefixtures("here")
def test_a_server_with_a_dead_engine_keeps_no_prompt_from_the_others(say: Any, double: Served) -> None:
    """It refuses at once, so that it has least in flight always: it once used up the tries of every third prompt."""
    double[1].script = lambda body, _: Answer(text=prompt_of(body), delay_s=0.05)
    with running(lambda *_: Answer(status=500)) as (dead, engine):
        urls = ("--url", dead, "--url", double[0], "--window", "32")
        said = say("batch", _write("p.txt", *map(str, range(300))), *urls, "--retries", "3", "--json")
    assert (said.code, said.document["answered"]) == (0, 300)
    assert len(engine.seen) < 64, "more than were in flight when it was seen to be dead"


@pytest.mark.usefixtures("here", "impatient")
def test_the_only_server_is_asked_again_however_often_it_fails(say: Any, double: Served) -> None:
    double[1].script = lambda body, number: Answer(status=500) if number <= 8 else plain(body, number)
    words = ("--url", double[0], "--retries", "8")  # all eight failures may meet one of the two
    assert say("batch", _write("p.txt", "one", "two"), *words).code == 0


@pytest.mark.usefixtures("here")
def test_a_server_that_wants_rest_keeps_no_prompt_from_another(say: Any, double: Served) -> None:
    with running(lambda *_: Answer(status=429, headers={"Retry-After": "60"})) as (tired, _):
        urls = ("--url", tired, "--url", double[0], "--window", "8")
        begun_s = time.monotonic()
        said = say("batch", _write("p.txt", *map(str, range(40))), *urls, "--json")
    assert (said.code, said.document["answered"]) == (0, 40)
    assert time.monotonic() - begun_s < 20


@pytest.mark.usefixtures("here", "impatient")
def test_a_server_that_takes_few_at_a_time_fails_no_prompt(say: Any, double: Served) -> None:
    """Every third request is answered: one prompt in five once ran out of tries."""
    double[1].script = lambda body, number: plain(body, number) if number % 3 == 0 else Answer(status=429)
    said = say("batch", _write("p.txt", *map(str, range(60))), "--url", double[0], "--retries", "3", "--json")
    assert (said.code, said.document["answered"]) == (0, 60)
    assert max(line["attempts"] for line in _lines("p.answers.jsonl")) > 4


@pytest.mark.usefixtures("here", "impatient")
@pytest.mark.parametrize(("retries", "tries"), [("0", 1), ("2", 3)])
def test_a_server_that_takes_none_is_no_endless_wait(say: Any, double: Served, retries: str, tries: int) -> None:
    double[1].script = lambda body, number: plain(body, number) if prompt_of(body) == "a" else Answer(status=429)
    said = say("batch", _write("p.txt", "a", "b"), "--url", double[0], "--retries", retries, "--window", "1", "--json")
    assert (said.code, said.document["answered"], said.document["failed"]) == (1, 1, 1)
    assert double[1].seen.count("b") == tries


@pytest.mark.usefixtures("here")
def test_the_first_server_may_be_down(say: Any, double: Served) -> None:
    said = say("batch", _write("p.txt", "one"), "--url", "http://127.0.0.1:9", "--url", double[0])
    assert (said.code, double[1].bodies[0]["model"]) == (0, "double"), said.err


@pytest.mark.usefixtures("here")
def test_prompts_come_from_standard_input(say: Any, double: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, text in ((1, "one\n"), (2, "two\none\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert say("batch", "-", "--url", double[0]).code == 0
        assert len(double[1].seen) == asked
    assert sorted(_answers("stdin.answers.jsonl").values()) == ["answer to one", "answer to two"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.txt", "", "p.txt: holds no prompt"),
        ("p.jsonl", "\ufeff\r\n", "p.jsonl: holds no prompt"),
        ("p.csv", "prompt\n", "p.csv: holds no prompt"),
        ("p.json", '{"user_prompts": []}', "p.json: holds no prompt"),
        ("p.csv", "prompt,prompt\none,two\n", "two columns are named prompt"),
        ("p.jsonl", '{"prompt": [1, 2]}', "token ids go into a body, with url /v1/completions"),
        ("p.jsonl", '{"id": [1], "prompt": "one"}', "id '[1]' is neither text nor number"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_file_without_prompts_is_refused_without_a_server(say: Any, name: str, text: str, says: str) -> None:
    Path(name).write_text(text)
    said = say("batch", name, "--url", "http://127.0.0.1:9")
    assert (said.code, says in said.complaint) == (2, True), said.err


@pytest.mark.usefixtures("here")
def test_long_and_odd_prompts_arrive_as_they_are(say: Any, double: Served) -> None:
    """A column of 500,000 characters; a line separator inside the first line of JSON; ids under other names."""
    long = "word, " * 80_000 + "\r\nend"
    Path("p.csv").write_text(f'\ufeffID,Prompt\r\n1,"{long}"\r\n', newline="")
    Path("p.jsonl").write_text('{"id": 7, "prompt": "a\u2028b\x85"}\n{"question_tag": "ü", "prompt": "c"}\n')
    assert say("batch", "p.csv", "--url", double[0]).code == say("batch", "p.jsonl", "--url", double[0]).code == 0
    assert double[1].seen[0] == long
    assert sorted(double[1].seen[1:]) == ["a\u2028b\x85", "c"]
    assert set(double[1].bodies[1]) == {"model", "messages"}, "an id is no field of the request"
    assert set(_answers("p.answers.jsonl")) == {"1", "7", "ü"}


@pytest.mark.usefixtures("here")
def test_lines_are_told_from_json_that_is_none(say: Any, double: Served) -> None:
    """A file that is called JSON is not sent line by line because it begins with something else."""
    for name, text in (("a.jsonl", 'oops\n{"prompt": "one"}\n'), ("a.txt", "{name}, are you there?\n")):
        Path(name).write_text(text)
        said = say("batch", name, "--url", double[0])
        assert (said.code, "--dialect lines" in said.complaint) == (2, True)
    Path("p.txt").write_text("one\x0ctwo\u2028three\r\nfour\n")
    assert say("batch", "p.txt", "--url", double[0]).code == 0
    assert sorted(double[1].seen) == ["four", "one\x0ctwo\u2028three"]


@pytest.mark.usefixtures("here")
def test_a_torn_last_line_is_healed(say: Any, double: Served) -> None:
    words = ("batch", _write("p.txt", "a", "b"), "--url", double[0])
    say(*words)
    whole = Path("p.answers.jsonl").read_bytes()
    Path("p.answers.jsonl").write_bytes(whole[:-10])
    say(*words)
    assert sorted(_answers("p.answers.jsonl").values()) == ["answer to a", "answer to b"]
    assert len(double[1].seen) == 3


@pytest.mark.usefixtures("here")
def test_a_file_of_something_else_is_not_touched(say: Any, double: Served) -> None:
    Path("mine.json").write_text('{"precious": 1}')
    said = say("batch", _write("p.txt", "a"), "--url", double[0], "-o", "mine.json")
    assert (said.code, Path("mine.json").read_text()) == (2, '{"precious": 1}')


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.usefixtures("here", "impatient")
def test_a_page_with_a_good_status_is_no_answer(say: Any, double: Served, stream: bool) -> None:
    double[1].script = lambda *_: Answer(fault="page")
    words = ["batch", _write("p.txt", "one"), "--url", double[0], "--retries", "1", *(["--stream"] if stream else [])]
    assert say(*words).code == 1
    (line,) = _lines("p.errors.jsonl")
    assert (line["error"]["code"], line["attempts"]) == ("malformed", 2)
    assert "text/html" in line["error"]["message"]


@pytest.mark.parametrize("flag", ["--output", "--errors"])
@pytest.mark.usefixtures("here")
def test_a_pipe_or_device_keeps_no_answers(say: Any, double: Served, flag: str) -> None:
    os.mkfifo("pipe")
    for name in ("/dev/null", "pipe"):
        said = say("batch", _write("p.txt", "one"), "--url", double[0], flag, name)
        assert (said.code, "is no plain file" in said.complaint) == (2, True)
    assert double[1].seen == []


@pytest.mark.usefixtures("here")
def test_several_servers_share_the_work(say: Any, double: Served) -> None:
    with running() as (other, second):
        for one in (double[1], second):
            one.script = lambda *_: Answer(text="x", delay_s=0.02)
        prompts = [f"prompt {number}" for number in range(40)]
        say("batch", _write("p.txt", *prompts), "--url", double[0], "--url", other, "--window", "8")
        assert abs(len(second.seen) - 20) <= 6


@pytest.mark.usefixtures("here")
def test_tokens_and_cost_are_counted_over_runs(say: Any, double: Served) -> None:
    say("batch", _write("p.txt", "a"), "--url", double[0])
    said = say("batch", _write("p.txt", "a", "b c"), "--url", double[0], "--usd-per-mtok", "$2", "--json").document
    assert said["usage"] == {"input_tokens": 3, "output_tokens": 8, "think_tokens": 0}
    assert said["usage_now"] == {"input_tokens": 2, "output_tokens": 4, "think_tokens": 0}
    assert said["usd"] == pytest.approx(8e-6)


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (("--url", "http://127.0.0.1:9"), 5, "does not answer"),
        (("--url", "http://me:pass@host"), 2, "keys come from the environment"),
        (("--url", "ftp://host"), 2, "is no address"),
        (("--url", "http://127.0.0.1:9", "--shard", "3/3"), 2, "I from 0"),
        (("--url", "http://127.0.0.1:9", "--api-key-env", "UNSET_KEY"), 2, "UNSET_KEY"),
        (("--url", "http://127.0.0.1:9", "-o", "p.txt"), 2, "four files"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_meant_is_one_line(say: Any, words: tuple[str, ...], code: int, names: str) -> None:
    said = say("batch", _write("p.txt", "a"), *words)
    assert said.code == code
    assert names in said.complaint
    assert "pass@" not in said.err


@pytest.mark.parametrize("words", [("batch", "p.txt", "--url", "host"), ("bench", "--url", "host")])
@pytest.mark.usefixtures("here")
def test_without_the_extra_one_line_names_it(say: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    _write("p.txt", "a")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    said = say(*words)
    assert said.code == 2
    assert "sizewell[drive]" in said.complaint
