"""The same figures are read under the names of every release, over a window, and nothing missing counts as zero."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.advisor.observation import Observation
from sizewell.catalog.engine_metrics import ENGINES, read_engine_metrics
from sizewell.emulator.metrics import Metrics
from sizewell.observer.exposition import Page, read_page, read_pages, stamped
from sizewell.observer.metrics import engine_of, models_on, observe, of_model
from sizewell.specs.engine_metrics import EMULATED_CLOCK, Meaning, Release, metrics_in
from sizewell.specs.errors import BadInputError

RELEASES: list[tuple[str, Release]] = [
    ("vllm", (0, 6, 6)), ("vllm", (0, 8, 5)), ("vllm", (0, 10, 2)), ("vllm", (0, 11, 0)), ("vllm", (0, 20)),
    ("vllm", (0, 33)), ("sglang", (0, 3, 6)), ("sglang", (0, 5, 23)),
]  # fmt: skip
COUNTERS: dict[Meaning, float] = {
    "prompt_tokens": 1000.0, "generated_tokens": 600.0, "prefix_queries": 1000.0, "prefix_hits": 250.0,
    "requests": 12.0,
}  # fmt: skip
TIMES: dict[Meaning, float] = {"ttft_s": 0.4, "itl_s": 0.02, "e2e_s": 2.5, "queue_s": 0.3}


def told(engine: str, release: Release, part: float, engines: int = 2) -> str:
    """Return the page of an engine that has done a part of its work; both engines do the same."""
    cache = {"num_gpu_blocks": "101", "block_size": "16"}
    figures = Metrics(metrics_in(read_engine_metrics(engine), release), "m", engines, cache)
    for number, each in enumerate(figures.engines):
        each.numbers = {meaning: value * part for meaning, value in COUNTERS.items()}
        each.numbers |= {"running": 6.0, "waiting": 3.0, "kv_used_fraction": 0.4, "preemptions": 24 * part}
        each.numbers |= {"kv_tokens": 1600.0, "cache_hit_fraction": 0.25}
        each.finished["length"] = int(12 * part)
        for meaning, value in TIMES.items():
            for _ in range(int((590 if meaning == "itl_s" else 10) * part)):  # 600 tokens of ten requests
                figures.observe(number, meaning, value)
        for _ in range(int(12 * part)):
            figures.observe(number, "request_prompt_tokens", 1000 / 12)
            figures.observe(number, "request_output_tokens", 50.0)
    return figures.text()


def pages(engine: str, release: Release, **more: int) -> list[Page]:
    """Return three pages, ten seconds apart."""
    return [read_page(told(engine, release, part, **more), 1000.0 + 10 * part) for part in (1.0, 2.0, 3.0)]


@pytest.mark.parametrize(("engine", "release"), RELEASES, ids=[f"{e} {r}" for e, r in RELEASES])
@pytest.mark.parametrize("colon", [":", "_"])
def test_figures_are_the_same_in_every_release(engine: str, release: Release, colon: str) -> None:
    texts = [told(engine, release, part).replace(f"{engine}:", f"{engine}{colon}") for part in (1.0, 2.0, 3.0)]
    read = [read_page(text, 1000.0 + 10 * at) for at, text in enumerate(texts)]
    tables = [read_engine_metrics(name) for name in ENGINES]
    at = engine_of(read, tables)
    assert at is not None and ENGINES[at] == engine
    seen = observe(read, tables[at])
    assert (seen.window_s, seen.engines, seen.idle_engines, seen.restarts) == (20.0, 2, 0, 0)
    # Two engines: counts are added, shares averaged; two parts of the work in twenty seconds.
    assert (seen.running, seen.waiting, seen.kv_used_fraction) == (12.0, 6.0, pytest.approx(0.4))
    assert seen.generated_tokens_per_s == pytest.approx(2 * 600 * 2 / 20)
    assert seen.prompt_tokens_per_s == pytest.approx(2 * 1000 * 2 / 20)
    assert seen.finished_per_s == pytest.approx(2 * 12 * 2 / 20)
    assert seen.cached_fraction == pytest.approx(0.25)
    assert seen.request_output_tokens == pytest.approx(50)
    for name, value in TIMES.items():
        assert getattr(seen, name) == pytest.approx(value), name
    assert seen.kv_tokens == 3200
    assert seen.missing == ()


def test_a_cache_that_empties_between_waves_is_as_full_as_in_them() -> None:
    """Readings at which nobody waits say nothing of what holds requests up."""

    def page(number: int, used: float, waiting: int) -> Page:
        lines = [f"vllm:kv_cache_usage_perc {used}", f"vllm:num_requests_waiting {waiting}"]
        return read_page("\n".join(lines), float(number))

    table = read_engine_metrics("vllm")
    waves = [page(at, used, 8) for at, used in enumerate((1.0, 0.62, 0.5, 0.62, 1.0, 0.98))]
    seen = observe(waves, table)
    assert (seen.kv_used_fraction, seen.kv_peak_fraction) == (pytest.approx(0.787, abs=0.001), 1.0)
    once = [page(at, used, 8) for at, used in enumerate((0.4, 0.5, 1.0, 0.5, 0.4, 0.5))]
    assert observe(once, table).kv_peak_fraction == 0.5, "one reading of six is an accident"
    alone = [page(at, used, waiting) for at, (used, waiting) in enumerate([(1.0, 0), (1.0, 0), (0.3, 2), (0.3, 2)])]
    assert observe(alone, table).kv_peak_fraction == 0.3


def test_what_ran_when_nobody_waited_any_more_is_not_what_held_them_up() -> None:
    """A burst of prompts: most wait while the first is computed, and all of them run when nobody waits."""
    line = "vllm:num_requests_running {}\nvllm:num_requests_waiting {}\nvllm:kv_cache_usage_perc {}\n"
    table = read_engine_metrics("vllm")

    def seen(*told: tuple[int, int, float]) -> Observation:
        return observe([read_page(line.format(*each), float(at)) for at, each in enumerate(told)], table)

    burst = seen((1, 14, 0.08), (12, 0, 0.97), (2, 14, 0.14), (11, 0, 0.91))
    assert (burst.running_peak, burst.kv_peak_fraction) == (2, 0.14)
    assert seen((1, 0, 0.1), (12, 0, 0.97)).running_peak == 12


def test_a_restarted_server_is_counted_from_zero() -> None:
    steps = [told("vllm", (0, 33), part) for part in (5.0, 6.0, 1.0, 2.0)]
    seen = observe([read_page(text, 10.0 * at) for at, text in enumerate(steps)], read_engine_metrics("vllm"))
    assert seen.restarts == 2  # both engines
    # One part before, then all that was counted since: two parts.
    assert seen.generated_tokens_per_s == pytest.approx(2 * 600 * 3 / 30)


def test_what_is_not_told_is_named_and_not_zero() -> None:
    text = "\n".join(line for line in told("vllm", (0, 33), 1.0).splitlines() if "preempt" not in line)
    seen = observe([read_page(text, 0.0), read_page(text, 5.0)], read_engine_metrics("vllm"))
    assert seen.preemptions_per_s is None and seen.preemptions_per_request is None
    assert seen.missing == ("vllm:num_preemptions_total",)
    assert seen.generated_tokens_per_s == 0.0


def test_a_gauge_of_retractions_counts_none() -> None:
    """An older SGLang tells how many the last batch retracted: 0, then 5, is no rate of preemptions."""
    text = "sglang:num_running_reqs 3\nsglang:num_retracted_reqs {}\n"
    found = observe([read_page(text.format(0), 0.0), read_page(text.format(5), 10.0)], read_engine_metrics("sglang"))
    assert found.preemptions_per_s is None
    assert "sglang:num_retracted_requests_total" in found.missing


def test_one_reading_has_means_but_no_rates() -> None:
    seen = observe([read_page(told("vllm", (0, 33), 2.0))], read_engine_metrics("vllm"))
    assert seen.window_s is None and seen.generated_tokens_per_s is None
    assert seen.itl_s == pytest.approx(0.02) and seen.running == 12.0
    assert "two readings" in seen.missing[0]


def test_a_router_tells_of_each_of_its_servers() -> None:
    line = 'vllm:num_requests_running{{server="http://10.0.0.{0}:8000"}} {1}\n'
    seen = observe([read_page(line.format(1, 4) + line.format(2, 0))], read_engine_metrics("vllm"))
    assert (seen.engines, seen.idle_engines, seen.running) == (2, 1, 4)


def test_an_engine_that_never_works_is_seen() -> None:
    quiet = [
        "\n".join(
            line.rsplit(" ", 1)[0] + " 0.0" if line.startswith("vllm:num_requests") and 'engine="1"' in line else line
            for line in told("vllm", (0, 33), part).splitlines()
        )
        for part in (1.0, 2.0)
    ]
    seen = observe([read_page(text, float(at)) for at, text in enumerate(quiet)], read_engine_metrics("vllm"))
    assert (seen.engines, seen.idle_engines) == (2, 1)


def test_a_gauge_that_knows_nothing_is_left_out() -> None:
    text = 'vllm:num_requests_running{engine="0"} 1\nvllm:gpu_prefix_cache_hit_rate{engine="0"} -1\n'
    assert observe([read_page(text, 0.0), read_page(text, 1.0)], read_engine_metrics("vllm")).cached_fraction is None


def test_a_file_keeps_several_readings() -> None:
    text = "".join(stamped(told("sglang", (0, 5, 23), part), 100.0 * part) for part in (2.0, 1.0))
    first, last = read_pages(text, "file")
    assert (first.time_s, last.time_s) == (100.0, 200.0)
    assert observe((first, last), read_engine_metrics("sglang")) == observe(
        [read_page(told("sglang", (0, 5, 23), part), 100.0 * part) for part in (1.0, 2.0)],
        read_engine_metrics("sglang"),
    )


def test_an_emulated_clock_wins() -> None:
    assert read_page(f"{EMULATED_CLOCK}{{}} 77.5\n", 3.0).time_s == 77.5


@pytest.mark.parametrize("text", ["", "# HELP only\n", "<html>not metrics</html>", "# scraped_at_unix_s soon\nx 1\n"])
def test_a_file_of_no_metrics_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        read_pages(text, "file")


def test_labels_may_hold_anything() -> None:
    page = read_page('a{x="b \\"c\\" } , \\\\n",y="1"} 3 1700000000\na{x="d"} NaN\nbroken{x= 4\nb 1e3\n')
    assert page.figures == {("a", (("x", 'b "c" } , \\n'), ("y", "1"))): 3.0, ("b", ()): 1000.0}


def test_models_of_one_page_are_told_apart() -> None:
    line = 'vllm:{0}{{model_name="{1}",engine="0"}} {2}\n'
    text = "".join(line.format("num_requests_running", name, count) for name, count in (("a", 3), ("b", 5)))
    page = [read_page(text + "vllm:num_requests_waiting 2\n")]
    assert models_on(page) == ("a", "b")
    seen = observe(of_model(page, "b"), read_engine_metrics("vllm"))
    assert seen.running == seen.running_peak == 5 and seen.waiting == 2


def test_what_is_not_finite_is_no_figure() -> None:
    page = read_page("vllm:kv_cache_usage_perc +Inf\nvllm:num_requests_running NaN\nvllm:num_requests_waiting 1\n")
    assert [name for name, _ in page.figures] == ["vllm:num_requests_waiting"]


def test_the_most_that_ran_is_of_one_reading() -> None:
    text = 'vllm:num_requests_running{{engine="0"}} {0}\nvllm:num_requests_running{{engine="1"}} {1}\n'
    pages = [read_page(text.format(*both)) for both in ((3, 1), (0, 5), (2, 2))]
    assert observe(pages, read_engine_metrics("vllm")).running_peak == 5


def test_tokens_that_come_together_are_gaps_of_their_own() -> None:
    """vLLM counts a gap for each step: with drafts 100 steps of 30 ms bring 250 tokens, one each 12 ms."""
    text = "".join(
        f"vllm:{name} {value}\n"
        for name, value in (
            ("inter_token_latency_seconds_sum", 3.0), ("inter_token_latency_seconds_count", 100),
            ("generation_tokens_total", 254), ("time_to_first_token_seconds_count", 4),
        )
    )  # fmt: skip
    assert observe([read_page(text)], read_engine_metrics("vllm")).itl_s == pytest.approx(0.012)
    # Where first tokens are not told, or gaps are missing, it is as the engine counts.
    alone = read_page("vllm:inter_token_latency_seconds_sum 3\nvllm:inter_token_latency_seconds_count 100\n")
    assert observe([alone], read_engine_metrics("vllm")).itl_s == pytest.approx(0.03)


def test_tokens_of_requests_that_have_not_ended_are_seen_where_the_engine_counts_at_the_end() -> None:
    """SGLang counts a request's tokens when it ends: long ones are no hang, and an end brings no sudden thousand."""
    page = (
        "sglang:num_running_reqs 4\nsglang:generation_tokens_total {}\nsglang:num_requests_total {}\n"
        "sglang:inter_token_latency_seconds_sum {}\nsglang:inter_token_latency_seconds_count {}\n"
        "sglang:time_to_first_token_seconds_count {}\n"
    )
    table = read_engine_metrics("sglang")
    for ended, tokens in ((0, 0), (1, 9000)):
        told = [page.format(500, 7, 10.0, 500, 4), page.format(500 + tokens, 7 + ended, 50.0, 1500, 4)]
        seen = observe([read_page(text, 10.0 * at) for at, text in enumerate(told)], table)
        assert (seen.generated_tokens_per_s, seen.itl_s) == (pytest.approx(100.0), pytest.approx(0.04))


def test_parts_of_one_engine_tell_of_the_same_requests() -> None:
    """SGLang's pipeline stages each tell of all requests; ranks of data parallelism tell of their own."""
    text = 'sglang:num_running_reqs{{pp_rank="{0}",tp_rank="{1}"{2}}} {3}\n'
    stages = "".join(text.format(stage, 0, "", 16) for stage in (0, 1))
    seen = observe([read_page(stages)], read_engine_metrics("sglang"))
    assert (seen.running, seen.running_peak, seen.engines) == (16, 16, 1)
    ranks = "".join(text.format(0, rank, f',dp_rank="{rank}"', 16) for rank in (0, 1))
    seen = observe([read_page(ranks)], read_engine_metrics("sglang"))
    assert (seen.running, seen.running_peak, seen.engines) == (32, 32, 2)


@pytest.mark.parametrize("said", ["ray_vllm:", "ray_vllm_"])
def test_ray_serve_passes_the_metrics_of_its_engines_on(said: str) -> None:
    text = told("vllm", (0, 33), 2.0)
    passed_on = text.replace("vllm:", said).replace('engine="', 'WorkerId="')
    table = read_engine_metrics("vllm")
    assert engine_of([read_page(passed_on)], [read_engine_metrics("sglang"), table]) == 1
    theirs, ours = (observe([read_page(page)], table) for page in (passed_on, text))
    assert replace(theirs, settings={}) == replace(ours, settings={})
    assert theirs.settings["num_gpu_blocks"] == ours.settings["num_gpu_blocks"]


def test_llama_cpp_tells_the_time_its_slots_took() -> None:
    """Two slots at 25 ms a token each: 80 tokens a second together."""
    text = (
        "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:prompt_tokens_total {0}\n"
        "llamacpp:tokens_predicted_total {1}\nllamacpp:tokens_predicted_seconds_total {2}\n"
    )
    pages = [read_page(text.format(100, 800, 20.0), 0.0), read_page(text.format(300, 1600, 40.0), 10.0)]
    tables = [read_engine_metrics(name) for name in ENGINES]
    assert engine_of(pages, tables) == ENGINES.index("llama.cpp")
    seen = observe(pages, read_engine_metrics("llama.cpp"))
    assert (seen.running, seen.waiting, seen.generated_tokens_per_s) == (2.0, 1.0, 80.0)
    assert seen.itl_s == pytest.approx(0.025) and seen.decoding == pytest.approx(2.0)
    assert "itl_s" not in seen.missing


def test_a_share_above_one_is_none() -> None:
    text = "sglang:num_running_reqs 3\nsglang:token_usage 1.0\nsglang:cache_hit_rate 38.5\n"
    seen = observe([read_page(text)], read_engine_metrics("sglang"))
    assert (seen.kv_used_fraction, seen.kv_peak_fraction, seen.cached_fraction) == (1.0, 1.0, None)


def test_nothing_known_is_no_engine() -> None:
    assert engine_of([read_page("go_threads 3\n")], [read_engine_metrics(name) for name in ENGINES]) is None
    assert observe([read_page("go_threads 3\n", 0.0)], read_engine_metrics("vllm")).running is None
    assert Observation().decoding is None
