"""`sizewell bench` measures what a scripted server does, from when requests were due, and says what spoils it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import sizewell
from driver.double import Answer, Double, running
from sizewell.cli.bench_page import bench_object, page
from sizewell.cli.bench_runs import Answer as Found
from sizewell.driver.client import opened
from sizewell.driver.load import Load
from sizewell.driver.recording import as_run
from sizewell.driver.wording import Wording
from sizewell.specs.address import Secret
from sizewell.traffic.requests import Requests
from sizewell.traffic.score import score
from sizewell.traffic.workload import Slo

Served = tuple[str, Double]
WORDS = ("--api", "chat", "--input", "20", "--answer", "5", "--warmup", "0")


def _paced(first_s: float, gap_s: float, tokens: int = 5) -> Any:
    """A server whose every answer begins after `first_s` and brings a token each `gap_s`."""
    return lambda body, _: Answer(
        text="tok", repeat=tokens, tokens=tokens, delay_s=first_s, gap_s=gap_s, prompt_tokens=20
    )


async def _played(urls: str | tuple[str, ...], requests: Requests, until_s: float = 60.0) -> Any:
    async with opened(Secret(), 30.0) as client:
        wording = Wording(model="double", salt=1, api="chat")
        urls = (urls,) if isinstance(urls, str) else urls
        return await Load(client=client, urls=urls, wording=wording, requests=requests, until_s=until_s).play()


SMALL = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 512, "vocab_size": 512,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.usefixtures("here")
def test_prompts_hold_tokens_the_named_model_has(say: Any, double: Served) -> None:
    Path("config.json").write_text(json.dumps(SMALL))
    load = ("--url", double[0], "--concurrency", "1", "--requests", "2", "--input", "50", "--answer", "2")
    assert say("bench", "config.json", "--on", "h100", *load).code == 0
    assert max(max(body["prompt"]) for body in double[1].bodies) < 512
    double[1].script = lambda *_: Answer(status=400, error="Token id 31390 is out of vocabulary")
    assert "--vocabulary" in say("bench", *load).complaint


BEFORE_TOKENS = 3
"""What the double notes of a stream before its first token: the request, a comment, the chunk with the role."""


@pytest.mark.usefixtures("here")
def test_latencies_are_those_of_the_server(say: Any, double: Served) -> None:
    """As the server's own clock has them: a busy machine makes it late, and only what comes between counts here."""
    double[1].script = _paced(0.1, 0.02)
    tries = 5
    for _ in range(tries):
        said = say("bench", "--url", double[0], "--concurrency", "1,4", *WORDS, "--requests", "8", "--json")
        assert said.code == 0, said.err
        felt = [point["score"] for point in said.document["points"]]
        assert [each["ok"] for each in felt] == [8, 8]
        both = double[1].streamed[-16:]
        told = [_as_told(both[:8]), _as_told(both[8:])]
        for one, (ttft_s, _, tokens_per_s) in zip(felt, told, strict=True):
            # the role's chunk, which is no token, comes a gap before the first one; the comment before it too
            assert one["ttft"]["mean_s"] > max(ttft_s, 0.138), "no token is earlier than it was sent"
            assert one["wall"]["output_tokens_per_s"] < tokens_per_s
        seen = [(e["ttft"]["mean_s"], e["tpot"]["mean_s"], e["wall"]["output_tokens_per_s"]) for e in felt]
        if seen == [pytest.approx(one, rel=0.12) for one in told]:
            return
    pytest.fail(f"seen {seen}, told {told} in the last of {tries}")


def _as_told(streams: list[list[float]]) -> tuple[float, float, float]:
    """Return mean TTFT, mean TPOT and tokens per second as the double noted them."""
    come, first, last = (np.array([one[place] for one in streams]) for place in (0, BEFORE_TOKENS, BEFORE_TOKENS + 4))
    tpot_s = (last - first) / 4
    return float((first - come).mean()), float(tpot_s.mean()), 5 * len(streams) / float(last.max() - come.min())


def test_a_stalled_server_shows_in_every_latency_of_an_open_loop(double: Served) -> None:
    """No coordinated omission: requests due during a stall count the wait, however they were sent."""
    import time

    begun = time.monotonic()

    def script(_body: dict[str, Any], _number: int) -> Answer:
        held = max(0.0, begun + 1.0 - time.monotonic())
        return Answer(text="tok", tokens=1, delay_s=held)

    double[1].script = script
    arrivals = np.arange(1, 41) * 0.02
    run = as_run(asyncio.run(_played(double[0], Requests.of(arrivals, 5, 1))))
    felt = score(run)
    assert felt.ok == 40
    assert felt.ttft.p99_s is None, "forty values have no p99"
    waits = run.first_token_s - run.scheduled_s
    assert waits.max() > 0.7
    assert np.median(run.sent_s - run.scheduled_s) < 0.1, "an open loop does not wait for answers"
    np.testing.assert_allclose(run.scheduled_s, arrivals)


def test_a_closed_loop_keeps_its_concurrency_and_counts_from_when_it_was_free(double: Served) -> None:
    double[1].script = _paced(0.2, 0.0)
    run = as_run(asyncio.run(_played(double[0], Requests.of(0.0, 5, np.full(30, 5), concurrency=6))))
    assert double[1].most_in_flight == 6
    assert (run.sent_s >= run.scheduled_s).all()
    assert np.diff(np.sort(run.scheduled_s))[:5].max() < 0.1, "all six are due at the start, not after an answer"


def test_a_closed_loop_sends_nothing_before_it_comes(double: Served) -> None:
    double[1].script = _paced(0.05, 0.0)
    run = as_run(asyncio.run(_played(double[0], Requests.of([0.0, 0.0, 0.6], 5, 5, concurrency=2))))
    assert run.scheduled_s[2] == 0.6
    assert run.sent_s[2] >= 0.6


def test_a_place_that_is_free_does_not_wait_for_words(double: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that takes 50 ms to write is written while its forerunner is under way."""
    import time

    write = Wording.body

    def slowly(self: Wording, requests: Requests, row: int) -> bytes:
        time.sleep(0.05)
        return write(self, requests, row)

    monkeypatch.setattr(Wording, "body", slowly)
    double[1].script = _paced(0.4, 0.0)
    run = as_run(asyncio.run(_played(double[0], Requests.of(0.0, 5, np.full(12, 5), concurrency=3))))
    assert np.median(run.sent_s - run.scheduled_s) < 0.025
    assert run.scheduled_s[:3].max() < 0.1, "nor do the first"
    assert double[1].most_in_flight == 3
    assert len(set(double[1].seen)) == len(double[1].seen) == 12, "each once"


def test_a_later_turn_waits_for_the_one_before(double: Served) -> None:
    double[1].script = _paced(0.05, 0.0)
    two = replace(Requests.of([0.0, 0.1], 5, 5), after=np.array([-1, 0]))
    run = as_run(asyncio.run(_played(double[0], two)))
    assert run.scheduled_s[1] == pytest.approx(run.last_token_s[0] + 0.1, abs=0.03)


@pytest.mark.usefixtures("here")
def test_several_servers_are_measured_as_one(say: Any, double: Served) -> None:
    with running(_paced(0.05, 0.0)) as other:
        double[1].script = _paced(0.05, 0.0)
        words = ("--concurrency", "4", *WORDS, "--requests", "20", "--rows", "rows.csv", "--json")
        said = say("bench", "--url", double[0], "--url", other[0], *words)
    assert said.code == 0, said.err
    assert said.document["points"][0]["score"]["ok"] == 20
    assert said.document["points"][0]["predicted"] is None
    assert [double[1].most_in_flight, other[1].most_in_flight] == [2, 2]
    rows = Path("rows.csv").read_text().splitlines()
    column = rows[0].split(",").index("replica")
    assert sorted({row.split(",")[column] for row in rows[1:]}) == ["0", "1"]


def test_a_later_turn_goes_where_the_earlier_one_was_answered(double: Served) -> None:
    double[1].script = _paced(0.02, 0.0)
    turns = replace(Requests.of(np.zeros(20), 5, 5), after=np.array([-1] * 10 + list(range(10))))
    with running(_paced(0.02, 0.0)) as other:
        run = as_run(asyncio.run(_played((double[0], other[0]), turns)))
    assert list(run.replica[10:]) == list(run.replica[:10])
    assert sorted(set(run.replica)) == [0, 1]


def test_what_is_in_flight_at_the_end_is_unfinished(double: Served) -> None:
    double[1].script = lambda *_: Answer(text="x", delay_s=30.0)
    run = as_run(asyncio.run(_played(double[0], Requests.of([0.0, 0.01], 5, 5), until_s=0.3)))
    felt = score(run)
    assert (felt.offered, felt.unfinished, felt.ttft.n) == (2, 2, 0)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(status=429, error="full"), "rejected"),
        (Answer(status=500, error="died"), "failed"),
        (Answer(text="x" * 30, fault="reset"), "failed"),
        (Answer(text="x" * 30, fault="malformed"), "failed"),
        (Answer(text="x" * 30, fault="page"), "failed"),
    ],
)
@pytest.mark.usefixtures("here")
def test_failures_never_enter_latencies(say: Any, double: Served, answer: Answer, status: str) -> None:
    plain = _paced(0.01, 0.001)
    double[1].script = lambda body, number: answer if number % 2 == 0 else plain(body, number)
    said = say("bench", "--url", double[0], "--users", "1", "--requests", "20", *WORDS, "--json", "--strict")
    felt = said.document["points"][0]["score"]
    assert (felt["ok"], felt[status], felt["ttft"]["n"]) == (10, 10, 10)
    assert said.code == 4
    assert "requests not served" in said.err


@pytest.mark.parametrize("dialect", ["reasoning", "reasoning_content", "tags", "unopened"])
@pytest.mark.usefixtures("here")
def test_the_first_answer_token_comes_after_thinking(say: Any, double: Served, dialect: Any) -> None:
    double[1].script = lambda *_: Answer(text="yes", think="hmm" * 10, dialect=dialect, gap_s=0.01, tokens=11)
    said = say("bench", "--url", double[0], "--users", "1", "--requests", "3", *WORDS, "--json")
    (point,) = said.document["points"]
    assert point["score"]["ttfa"]["mean_s"] > point["score"]["ttft"]["mean_s"] + 0.08
    assert {gate["name"]: gate["held"] for gate in point["gates"]}["tokens in bunches"] is True


@pytest.mark.usefixtures("here")
def test_gates_name_short_answers_cache_hits_and_few_rounds(say: Any, double: Served) -> None:
    double[1].script = _paced(0.0, 0.0, tokens=3)
    double[1].grow = {"vllm:prefix_cache_queries_total": 100.0, "vllm:prefix_cache_hits_total": 60.0}
    said = say("bench", "--url", double[0], "--concurrency", "8", "--requests", "16", *WORDS, "--json")
    missed = " ".join(said.document["missed"])
    for name in ("prefix cache hits is 0.6", "output lengths is 0.4", "rounds is 2", "tokens in bunches is"):
        assert name in missed
    gates = {gate["name"]: gate["held"] for gate in said.document["points"][0]["gates"]}
    assert gates["input lengths"] is True
    assert gates["requests not served"] is True


@pytest.mark.usefixtures("here")
def test_a_server_that_counts_no_tokens_is_named(say: Any, double: Served) -> None:
    """Several tokens a piece, and no usage: their number is that of the pieces, which the gate on lengths must say."""
    double[1].script = lambda *_: Answer(text="x" * 6, usage=False)
    said = say("bench", "--url", double[0], "--users", "1", "--requests", "5", *WORDS[:4], "--answer", "50", "--json")
    (line,) = [line for line in said.document["missed"] if "output lengths" in line]
    assert "the server counts no tokens" in line


@pytest.mark.usefixtures("here")
def test_answers_that_may_end_by_themselves_miss_no_length(say: Any, double: Served) -> None:
    words = ("bench", "--url", double[0], "--users", "1", "--requests", "5", *WORDS[:4], "--answer", "50", "--json")
    for more, missed in (((), True), (("--stop-at-eos",), False)):
        assert any("output lengths" in line for line in say(*words, *more).document["missed"]) is missed


@pytest.mark.usefixtures("here")
def test_two_runs_share_no_prompt_and_a_salt_repeats_them(say: Any, double: Served) -> None:
    words = ("bench", "--url", double[0], "--users", "1", "--requests", "2", "--input", "50", "--warmup", "0", "--json")
    first, second = say(*words), say(*words)
    assert first.code == 0, first.err
    third = say(*words, "--salt", str(first.document["salt"]))
    prompts = [str(body["prompt"]) for body in double[1].bodies]
    assert second.document["salt"] != first.document["salt"] == third.document["salt"]
    assert len(set(prompts[1:3] + prompts[4:6])) == 4
    assert prompts[7:9] == prompts[1:3]
    assert all(len(body["prompt"]) == 50 for body in double[1].bodies[1:3])


@pytest.mark.usefixtures("here")
def test_predicted_stands_beside_measured_for_the_same_requests(say: Any, double: Served) -> None:
    double[1].script = _paced(0.01, 0.002)
    words = ("bench", "llama-3.1-8b", "--on", "h100", "--url", double[0], "--concurrency", "1,2", *WORDS)
    said = say(*words, "--requests", "8", "--json")
    plan = say("explain", "llama-3.1-8b", "--on", "h100", "--json").document
    Path("plan.json").write_text(json.dumps(plan))
    for point in said.document["points"]:
        assert point["predicted"]["origin"] == "simulated"
        assert point["predicted"]["ok"] == 8
    by_plan = say("bench", "--plan", "plan.json", "--url", double[0], "--users", "2", "--requests", "8", *WORDS)
    assert by_plan.code == 0, by_plan.err
    assert "predicted" in by_plan.out
    assert max(map(len, by_plan.out.splitlines())) <= 100


@pytest.mark.parametrize("fails_at", [0, 2])
@pytest.mark.usefixtures("here")
def test_a_key_a_server_repeats_is_shown_nowhere(
    say: Any, double: Served, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:  # fmt: skip
    key = "sk-very-secret"
    monkeypatch.setenv("SIZEWELL_API_KEY", key)
    plain = _paced(0.0, 0.0)
    double[1].script = lambda body, number: (
        Answer(status=401, error=f"bad key {key}") if number > fails_at else plain(body, number)
    )
    said = say("bench", "--url", double[0], "--users", "1", "--requests", "4", *WORDS, "--record", "t.jsonl")
    written = "".join(path.read_text() for path in Path().iterdir()) + said.out + said.err
    assert said.code == (0 if fails_at else 5)
    assert key not in written
    assert "[API key]" in written


@pytest.mark.usefixtures("here")
def test_the_document_obeys_its_schema(say: Any, double: Served) -> None:
    schema = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "bench.json").read_text())
    double[1].script = _paced(0.0, 0.0)
    words = ("bench", "llama-3.1-8b", "--on", "h100", "--url", double[0], "--users", "1", "--requests", "3", *WORDS)
    jsonschema.Draft202012Validator(schema).validate(say(*words, "--ttft", "1s", "--json").document)


@pytest.mark.usefixtures("here")
def test_a_search_finds_what_holds_the_limits(say: Any, double: Served) -> None:
    """A server of six slots: the seventh request waits for one."""
    double[1].script = lambda *_: Answer(
        text="tok", tokens=1, delay_s=0.05 if double[1].in_flight <= 6 else 0.5, prompt_tokens=20
    )
    words = ("--saturate", "--ttft", "200ms", "--statistic", "mean", *WORDS[:4], "--answer", "1", "--warmup", "0")
    said = say("bench", "--url", double[0], *words, "--json").document
    assert said["found_concurrency"] in (5, 6, 7)
    assert len(said["points"]) <= 8


@pytest.mark.usefixtures("here")
def test_a_search_offers_every_load_five_rounds_however_few_requests_are_asked_for(say: Any, double: Served) -> None:
    """It once took the number of requests for the knee: no more than those can be in flight."""
    double[1].script = lambda *_: Answer(
        text="tok", tokens=1, delay_s=0.05 if double[1].in_flight <= 2 else 0.5, prompt_tokens=20
    )
    words = ("--saturate", "--requests", "8", "--ttft", "300ms", "--statistic", "mean", *WORDS[:4], "--answer", "1")
    said = say("bench", "--url", double[0], *words, "--warmup", "0", "--field", "n=1", "--json")
    points = {point["concurrency"]: point["requests"] for point in said.document["points"]}
    assert points[1] == 8
    assert all(requests == max(8, 5 * level) for level, requests in points.items())
    assert points[2] == 10


def test_a_search_says_what_it_could_not_judge() -> None:
    found = Found(
        url="u", model="m", salt=0, slo=Slo(), points=(), searched=True, found_concurrency=4,
        unknown_above={8: "client CPU"},
    )  # fmt: skip
    (*_, said) = page(found)
    assert said == (
        "search: at least 4 at once gives nearly all the throughput, in 0 probes; 8 at once says nothing: client CPU"
    )
    (*_, said) = page(replace(found, found_concurrency=None, unknown_above={1: "client CPU"}))
    assert said == "search: 1 at once says nothing: client CPU"
    assert bench_object(found)["unknown_above"] == {"8": "client CPU"}


@pytest.mark.usefixtures("here")
def test_a_search_binds_the_percentile_asked_for_and_names_it(say: Any, double: Served) -> None:
    """A server of six slots that is slow one time in five holds a limit by its median, and never by its p90."""
    double[1].script = lambda _, number: Answer(
        text="tok", tokens=1, delay_s=0.01 if number % 5 and double[1].in_flight <= 6 else 0.3, prompt_tokens=20
    )
    words = ("bench", "--url", double[0], "--saturate", "--ttft", "150ms", *WORDS[:4], "--answer", "1", "--warmup", "0")
    said = say(*words, "--statistic", "p90")
    assert "not even one at a time holds p90 TTFT at most 150 ms" in " ".join(said.out.split())
    assert "p90 TTFT is 3" in said.err
    found = say(*words, "--statistic", "p50", "--json").document
    assert found["found_concurrency"] in range(4, 12)
    assert found["limits"]["statistic"] == "p50"
    assert found["points"][0]["score"]["limits"][0]["name"] == "p50 ttft"


@pytest.mark.usefixtures("here")
def test_a_search_for_p99_offers_enough_requests_to_tell_it(say: Any, double: Served) -> None:
    """And does not end before it began, because the p99 of sixteen requests is none."""
    double[1].script = lambda *_: Answer(text="tok", tokens=1, delay_s=0.0, prompt_tokens=20)
    words = ("bench", "--url", double[0], "--saturate", "--ttft", "5ms", "--statistic", "p99", *WORDS)
    found = say(*words, "--json").document
    assert found["points"][0]["requests"] == 100
    assert found["points"][0]["score"]["limits"][0]["value_s"] is not None
    refused = say(*words, "--requests", "60")
    assert (refused.code, "has no p99 to bind: ask for 100" in refused.complaint) == (2, True)


@pytest.mark.usefixtures("here")
def test_a_kept_run_of_no_stated_deployment_names_the_model_that_was_asked(
    say: Any, double: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path / "home"))
    said = say("bench", "--url", double[0], "--users", "1", "--requests", "3", *WORDS, "--keep", "first")
    assert said.code == 0, said.err
    assert "measured: double on unknown hardware, 3 requests" in say("runs", "1").out


@pytest.mark.usefixtures("here")
def test_the_files_hold_what_was_measured(say: Any, double: Served) -> None:
    double[1].script = _paced(0.01, 0.002)
    files = ("--rows", "r.csv", "--record", "t.jsonl", "--report", "llmd.json", "--plots", "p.html")
    say("bench", "--url", double[0], "--rates", "50,100", "--requests", "20", *WORDS, *files)
    rows = Path("r-50-per-s.csv").read_text().splitlines()
    lines = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    report = json.loads(Path("llmd-100-per-s.json").read_text())
    assert (len(rows), len(lines)) == (21, 40)
    assert all(len(line["token_s"]) == 5 for line in lines)
    assert report["results"]["request_performance"]["aggregate"]["requests"]["total"] == 20
    assert "Throughput" in Path("p.html").read_text()


@pytest.mark.usefixtures("here")
def test_loads_that_are_alike_have_files_of_their_own(say: Any, double: Served) -> None:
    words = ("--concurrency", "2,2", "--requests", "10", "--rows", "r.csv", "--report", "r.json")
    say("bench", "--url", double[0], *words, *WORDS)
    assert sorted(path.name for path in Path().glob("r-*")) == ["r-2-2.csv", "r-2-2.json", "r-2.csv", "r-2.json"]


@pytest.mark.usefixtures("here")
def test_a_report_of_another_tools_load_names_that_tool_and_no_time(say: Any) -> None:
    measured = Path(__file__).parent / "measured" / "aiperf-0.13.0.jsonl"
    assert say("bench", "--import", str(measured), "--report", "r.json").code == 0
    report = json.loads(Path("r.json").read_text())
    assert set(report["run"]["time"]) == {"duration"}
    assert report["scenario"]["load"]["standardized"]["tool"] == "AIPerf"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--users", "2", "--rates", "3"), "both say what is offered"),
        (("llama-3.1-8b",), "needs both a model and its hardware"),
        (("nonsense-9000", "--on", "h100"), "nonsense-9000"),
        (("--concurrency", "2,x"), "is no count"),
        (("--plots", "p.png"), "plots are"),
    ],
)
@pytest.mark.usefixtures("here")
def test_flags_that_cannot_be_meant_are_refused_before_any_load(
    say: Any, double: Served, words: Any, names: str
) -> None:
    said = say("bench", "--url", double[0], *words)
    assert said.code == 2
    assert names in said.complaint
    assert double[1].seen == []


@pytest.mark.usefixtures("here")
def test_a_server_that_is_not_there_is_one_line(say: Any) -> None:
    said = say("bench", "--url", "http://127.0.0.1:9", "--users", "1")
    assert said.code == 5
    assert "does not answer" in said.complaint


@pytest.mark.usefixtures("here")
def test_a_plan_says_the_load_and_the_limits_unless_a_flag_does(say: Any, double: Served) -> None:
    """Two users grown by half are three in flight; other lengths, loads and limits are asked for by flags."""
    double[1].script = _paced(0.0, 0.0)
    asked = ("--users", "2", "--growth", "1.5", "--input", "20", "--answer", "5")
    found = say("explain", "llama-3.1-8b", "--on", "h100", *asked, "--json").document
    question = {"workload": found["workload"], "limits": {"slo": {"tpot_s": 9.0}}}
    Path("plan.json").write_text(json.dumps({"question": question, "plans": [{"deployment": found["deployment"]}]}))
    bench = ("bench", "--plan", "plan.json", "--url", double[0], "--api", "chat", "--warmup", "0", "--json")
    (planned,) = say(*bench, "--requests", "6").document["points"]
    assert planned["load"] == "3"
    assert {body["max_tokens"] for body in double[1].bodies[1:]} == {5}
    assert [limit["limit_s"] for limit in planned["score"]["limits"]] == [9.0]
    for flags, label in ((("--concurrency", "1"), "1"), (("--rate", "50/s"), "50/s"), (("--users", "2"), "2")):
        (point,) = say(*bench, *flags, "--requests", "3", "--growth", "1").document["points"]
        assert point["load"] == label
