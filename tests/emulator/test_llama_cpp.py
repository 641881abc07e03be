"""An emulated llama.cpp is one to whoever asks it: its paths, names, errors, lines and ways of counting."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from emulated import Served, completion, emulated, serving, small_fleet
from observer.engine_logs import read_engine_log

WORDS = ("--engine", "llama.cpp@b9976", "--weight-format", "q4_k_m", "--max-num-seqs", "4", "--max-model-len", "4096")


@pytest.fixture(scope="module")
def llama() -> Iterator[Served]:
    with serving(emulated(small_fleet(prefix_caching=True), words=WORDS, speed=20.0)) as served:
        yield served.wait()


def test_its_paths_are_there_and_those_of_others_are_not(llama: Served) -> None:
    assert llama.ask("/health").document == llama.ask("/v1/health").document == {"status": "ok"}
    (model,) = llama.ask("/v1/models").document["data"]
    assert (model["id"], model["owned_by"], model["meta"]["n_ctx"]) == ("tiny", "llamacpp", 4096)
    told = llama.ask("/props").document
    assert told["build_info"].startswith("b9976-") and told["total_slots"] == 64
    for path in ("/version", "/ping", "/get_model_info", "/nothing"):
        assert llama.ask(path).document["error"]["type"] == "not_found_error"


def test_only_its_health_and_models_need_no_key() -> None:
    with serving(emulated(words=WORDS), api_key="secret") as served:
        served.wait()
        assert served.ask("/v1/models").status == 200
        for path in ("/metrics", "/props"):
            refused = served.ask(path)
            assert (refused.status, refused.document["error"]["type"]) == (401, "authentication_error")
            assert served.ask(path, authorization="Bearer secret").status == 200


def test_it_serves_under_any_name_and_stops_where_the_context_does(llama: Served) -> None:
    assert llama.chat(model="another", max_tokens=1).status == 200
    cut = llama.ask("/v1/completions", {"prompt": [5] * 4000, "max_tokens": 500, "ignore_eos": True}).document
    assert (cut["usage"]["completion_tokens"], cut["choices"][0]["finish_reason"]) == (96, "length")
    refused = llama.ask("/v1/completions", {"prompt": [5] * 4096})
    assert (refused.status, refused.document["error"]["type"]) == (400, "exceed_context_size_error")


def test_tokens_are_counted_once_a_request_has_ended_and_prompts_where_they_are_computed() -> None:
    with serving(emulated(small_fleet(prefix_caching=True), words=WORDS)) as served:
        served.wait()
        with socket.create_connection((served.host, served.port)) as client:
            client.sendall(completion(prompt=[7] * 1600, max_tokens=2000, ignore_eos=True, stream=True))
            assert served.settles("llamacpp:requests_processing", 1)
            client.recv(4096)
            assert served.figures("llamacpp:prompt_tokens_total") == {"llamacpp:prompt_tokens_total{}": 1600.0}
            assert served.figures("llamacpp:tokens_predicted_total") == {"llamacpp:tokens_predicted_total{}": 0.0}
        assert served.settles("llamacpp:requests_processing", 0)
        usage = served.ask("/v1/completions", {"prompt": [7] * 1600, "max_tokens": 20}).document["usage"]
        assert served.settles("llamacpp:tokens_predicted_total", usage["completion_tokens"])
        assert sum(served.figures("llamacpp:prompt_tokens_total").values()) < 1600 + 400
        (spent,) = served.figures("llamacpp:tokens_predicted_seconds_total").values()
        assert spent == pytest.approx(19 * 0.01005, rel=0.02)


def test_several_are_told_apart_as_their_collector_would() -> None:
    with serving(emulated(small_fleet(replicas=2), words=WORDS)) as served:
        served.wait()
        assert len(served.figures("llamacpp:requests_processing")) == 2


def test_its_log_is_read_as_its_own() -> None:
    with serving(emulated(words=WORDS)) as served:
        served.wait()
        told = read_engine_log(served.lines)
    assert (told.engine, told.version, told.stage) == ("llama.cpp", "9976", "serving")
    assert told.kv_cache_tokens == 4 * 4096
