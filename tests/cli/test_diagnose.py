"""`sizewell diagnose`: a file, a kept run and a live server, in words and as JSON."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from emulated import emulated, serving
from sizewell.observer.exposition import stamped

READINGS = Path(__file__).parents[2] / "docs" / "metrics" / "r1-16xh100-eager.txt"
R1 = ("r1", "--on", "4xh100", "--nodes", "4", "--tp", "16", "--pp", "1", "--enforce-eager", "--engine", "vllm@0.8.5")
SMALL = ("--max-num-seqs", "64", "--max-model-len", "2048")
Say = Callable[..., Any]


def test_the_source_documents_deployment(say: Say) -> None:
    said = say("diagnose", READINGS, *R1, *SMALL, "--try", "TP8xPP2", "--json")
    found = said.document
    assert said.code == 0 and found["label"] == "host/launch overhead"
    assert found["changes"][0]["name"] == "record CUDA graphs"
    # What is rendered is the changed deployment: the flag is gone, everything else stands.
    assert "--enforce-eager" not in found["command"] and "--tensor-parallel-size 16" in found["command"]
    assert [each["name"] for each in found["tried"]] == ["cut TP8×PP2"]
    words = say("diagnose", READINGS, *R1, *SMALL).out
    assert "BOTTLENECK: host/launch overhead" in words and "CHANGE FIRST: record CUDA graphs" in words


def test_without_hardware_it_says_what_lacks(say: Say) -> None:
    said = say("diagnose", READINGS)
    assert said.code == 0
    assert "BOTTLENECK: unknown" in said.out and "the deployment" in said.out


def test_a_kept_run(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path))
    made = say(
        "simulate", "llama-3.1-8b", "--on", "h100", "--max-num-seqs", "8", "--rate", "50/s", "--requests", "120",
        "--input", "200", "--answer", "80", "--keep", "crowded",
    )  # fmt: skip
    assert made.code == 0
    found = say("diagnose", "1", "--json").document
    assert found["label"] == "queueing"
    assert found["deployment"]["pools"][0]["settings"]["max_num_seqs"] == 8
    assert found["changes"][0]["name"].startswith("max_num_seqs")


def test_a_processor_under_the_engine_that_serves_it_is_advised(say: Say, tmp_path: Path) -> None:
    """vLLM runs on processors where it is named; what serves now is named, and no change was ever proposed for it."""
    pages = tmp_path / "metrics.txt"
    told = (
        "vllm:num_requests_running 4\nvllm:num_requests_waiting 12\nvllm:kv_cache_usage_perc 0.05\n"
        "vllm:generation_tokens_total {0}000\nvllm:prompt_tokens_total {0}000\nvllm:request_success_total {0}0\n"
    )
    pages.write_text("".join(stamped(told.format(part), 10.0 * part) for part in (1, 2)))
    on = ("llama-3.2-1b", "--on", "cpu-ryzen-9950x", "--engine", "vllm@0.32", "--max-num-seqs", "4")
    found = say("diagnose", pages, *on, "--json").document
    assert found["label"] == "queueing"
    assert "max_num_seqs 16" in [each["name"] for each in found["changes"]]
    assert "--max-num-seqs 16" in found["command"]


def test_the_json_of_a_run_says_what_means_can(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    load = ("--rate", "6/s", "--requests", "80", "--input", "300", "--answer", "200")
    path.write_text(say("simulate", "llama-3.1-8b", "--on", "h100", *load, "--json").out)
    found = say("diagnose", path, "--json").document
    assert found["label"] == "weights bandwidth"
    assert found["slowness"] == pytest.approx(1, abs=0.15)
    assert found["missing"] == ["waiting", "kv_used_fraction"]
    # It is known by what is in it, whatever it is called.
    document, elsewhere = json.loads(path.read_text()), tmp_path / "saved.txt"
    elsewhere.write_text(json.dumps(document))
    assert say("diagnose", elsewhere, "--json").document["label"] == "weights bandwidth"
    document["score"]["ok"] = 0
    elsewhere.write_text(json.dumps(document))
    said = say("-q", "diagnose", elsewhere)
    assert said.code == 2 and "no request of its last load was served" in said.complaint


def test_what_no_such_machine_can_do_is_called_so(say: Say, tmp_path: Path) -> None:
    """Hardware named wrongly, or an emulator sped up: no number is faster than its floor, so it is not that."""
    path = tmp_path / "run.json"
    load = ("--rate", "6/s", "--requests", "80", "--input", "300", "--answer", "200")
    path.write_text(say("simulate", "llama-3.1-8b", "--on", "h200", *load, "--json").out)
    assert "NO SUCH MACHINE" not in say("diagnose", path).out
    run = json.loads(path.read_text())
    run["deployment"] |= {"gpu": "rtx-4090-24gb", "node": "desktop", "gpus_per_node": 1}
    path.write_text(json.dumps(run))
    assert "NO SUCH MACHINE" in say("diagnose", path).out
    assert say("diagnose", path, "--json").document["beats_the_floor"] is True


def test_a_live_server_names_itself(say: Say, tmp_path: Path) -> None:
    kept = tmp_path / "readings.txt"
    with serving(emulated(speed=5.0)) as served:
        served.wait()
        ended = threading.Event()

        def keep_asking() -> None:
            while not ended.is_set():
                served.ask("/v1/completions", {"prompt": "word" * 50, "max_tokens": 200, "ignore_eos": True})

        clients = [threading.Thread(target=keep_asking) for _ in range(4)]
        for client in clients:
            client.start()
        url = f"http://127.0.0.1:{served.port}"
        found = say("diagnose", url, "--window", "0.8s", "--every", "0.2s", "--save", kept, "--json").document
        ended.set()
        for client in clients:
            client.join()
    assert found["observation"]["missing"] == []
    # Five emulated seconds go by in one of ours, and rates are per second of the server's own.
    assert found["observation"]["window_s"] > 3
    assert 0 < found["mix"]["in_flight"] < 4.5
    again = say("diagnose", kept, "--json").document
    assert again["observation"] == found["observation"]


def test_an_emulated_llama_cpp_is_diagnosed_as_one(say: Say) -> None:
    """Its build comes from /props; what it does not tell is missing. Of 50 tokens the first takes it no time."""
    words = ("--engine", "llama.cpp@b7000", "--weight-format", "q4_k_m", "--max-num-seqs", "4")
    with serving(emulated(words=words, speed=10.0)) as served:
        served.wait()
        ended = threading.Event()

        def keep_asking() -> None:
            while not ended.is_set():
                served.ask("/v1/completions", {"prompt": "word" * 50, "max_tokens": 50, "ignore_eos": True})

        clients = [threading.Thread(target=keep_asking) for _ in range(3)]
        for client in clients:
            client.start()
        setup = ("llama-3.1-8b", "--on", "h100", "--weight-format", "q4_k_m", "--max-num-seqs", "4")
        url = f"http://127.0.0.1:{served.port}"
        found = say("diagnose", url, *setup, "--window", "0.8s", "--every", "0.2s", "--json").document
        ended.set()
        for client in clients:
            client.join()
    assert (found["deployment"]["engine"]["name"], found["deployment"]["engine"]["version"]) == ("llama.cpp", "b7000")
    seen = found["observation"]
    assert seen["itl_s"] == pytest.approx(0.01015 * 49 / 50, rel=0.02)
    assert seen["running"] <= 3 and seen["waiting"] == 0 and seen["generated_tokens_per_s"] > 0
    assert seen["kv_used_fraction"] is None and "llamacpp:kv_cache_usage_ratio" in seen["missing"]


def test_an_sglang_names_its_release_and_its_model(say: Say) -> None:
    """It has no /version, and lists its model by the name it serves it under only."""
    engine = emulated(words=("--engine", "sglang@0.5.9"), speed=10.0)
    with serving(replace(engine, name="meta-llama/Llama-3.1-8B-Instruct")) as served:
        served.wait()
        asking = threading.Thread(target=lambda: served.ask("/v1/completions", {"prompt": "x", "max_tokens": 900}))
        asking.start()
        found = say("diagnose", f"http://127.0.0.1:{served.port}", "--on", "h100", *WATCH)
        asking.join()
    engine_told = found.document["deployment"]["engine"]
    assert (engine_told["name"], engine_told["version"]) == ("sglang", "0.5.9")
    assert found.document["deployment"]["model"] == "meta-llama/Llama-3.1-8B-Instruct"


class Pages(BaseHTTPRequestHandler):
    """Serves what is in `told` one after the other, the last one ever again; None is a failure."""

    told: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        found = self.told.pop(0) if self.path == "/metrics" and len(self.told) > 1 else self.told[0]
        self.send_response(503 if found is None or self.path != "/metrics" else 200)
        self.end_headers()
        self.wfile.write((found or "").encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def pages() -> Iterator[Callable[..., str]]:
    """Return a function that serves pages and gives the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def serve(*told: str | None) -> str:
            Pages.told = list(told)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve
        server.shutdown()


TOLD = 'vllm:num_requests_running{{model_name="{1}"}} 2\nvllm:generation_tokens_total{{model_name="{1}"}} {0}\n'
WATCH = ("--window", "0.3s", "--every", "0.1s", "--json")


def test_a_server_that_is_started_anew_meanwhile_is_waited_for(say: Say, pages: Callable[..., str]) -> None:
    one, two, three = (TOLD.format(count, "m") for count in (900, 10, 20))
    found = say("diagnose", f"{pages(one, None, two, three)}/metrics", *WATCH)
    assert found.code == 0 and found.document["observation"]["restarts"] == 1


def test_what_was_read_of_a_server_that_dies_is_kept(say: Say, pages: Callable[..., str], tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.txt")
    one, two = (TOLD.format(count, "m") for count in (10, 20))
    assert say("-q", "diagnose", pages(one, two, None), *WATCH, "--save", kept).code == 5
    assert say("diagnose", kept, "--json").document["observation"]["generated_tokens_per_s"] > 0


def test_one_of_several_models_on_a_page_is_asked_for(say: Say, pages: Callable[..., str]) -> None:
    both = TOLD.format(100, "org/a") + TOLD.format(900, "org/b")
    said = say("-q", "diagnose", pages(both), *WATCH)
    assert said.code == 2 and "org/a, org/b" in said.complaint and "--served-model-name" in said.complaint
    found = say("diagnose", pages(both), *WATCH, "--served-model-name", "org/b").document
    assert found["observation"]["running"] == 2
    assert say("-q", "diagnose", pages(both), *WATCH, "--served-model-name", "org/c").code == 2


def test_what_the_sender_measured_is_taken_from_a_bench(say: Say, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    late = {"name": "schedule delay p50", "value": 0.4}
    bench.write_text(json.dumps({"points": [{"gates": [late], "concurrency": None, "client_cpu_fraction": 0.2}]}))
    found = say("diagnose", READINGS, "--client", bench, "--json").document
    assert found["label"] == "client" and "400 ms after they are due" in found["findings"][0]["evidence"][0]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("nowhere",), 2, "no file of that name"),
        (("http://127.0.0.1:9",), 5, "does not answer"),
        (("http://127.0.0.1:9", "http://127.0.0.1:10"), 2, "one server at a time"),
        (("7",), 2, "there is no run 7"),
        ((READINGS, "--on", "8xh200"), 2, "name it"),
        ((READINGS, "r1"), 2, "--on"),
        ((__file__,), 2, "holds no metrics"),
        ((READINGS, "--client", READINGS), 2, "bench"),
        ((Path(__file__).parents[2] / "bench" / "results" / "accuracy.json",), 2, "is no run"),
    ],
)
def test_what_cannot_be_meant(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], code: int, complaint: str
) -> None:
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path))
    said = say("-q", "diagnose", *words)
    assert said.code == code
    assert complaint in said.complaint


def test_explain_follows_a_request_and_names_what_binds(say: Say) -> None:
    load = ("--users", "64", "--input", "1000", "--think", "3000", "--answer", "500")
    words = ("explain", "r1", "--on", "8xh200", *load)
    found = say(*words, "--json").document
    phases = {phase["name"]: phase for phase in found["request"]["phases"]}
    assert list(phases) == ["queue", "prefill", "think", "answer"]
    whole_s = sum(phase["seconds"] for phase in phases.values())
    assert whole_s == pytest.approx(found["served"]["e2e_s"]["value"], rel=1e-4)
    # A latent of 512 + 64 numbers of two bytes in each of 61 layers, on every GPU.
    assert phases["answer"]["kv_bytes"] == pytest.approx(4500 * 61 * 576 * 2, rel=0.01)
    assert sum(phases["think"]["causes"].values()) == pytest.approx(phases["think"]["seconds"])
    assert found["bottleneck"] == "weights bandwidth" and found["changes"] is None
    assert say(*words, "--advise", "--json").document["changes"]


def test_explain_of_a_decode_pool_computes_no_prompts_there(say: Say) -> None:
    said = say("explain", "llama-3.1-8b", "--on", "4xh100", "--prefill", "TP2", "--decode", "TP2", "--advise", "--json")
    assert "one pool" in said.err
    assert "prefill compute" not in said.document["request"]["phases"][-1]["causes"]


def test_what_binds_a_pipeline_is_said_of_the_time_per_token_that_was_predicted(say: Say) -> None:
    """Prompts pass a pipeline while others decode: 49 % "of the 829 ms each token takes" stood beside a TPOT of 393."""
    words = ("--tp", "4", "--pp", "8", "--users", "100", "--input", "4000", "--answer", "500")
    found = say("explain", "kimi-k2-instruct", "--on", "8xa40", "--nodes", "4", *words, "--json").document
    (said,) = re.findall(r"of the (\d+) ms each token takes", found["findings"][0]["evidence"][0])
    assert float(said) / 1e3 == pytest.approx(found["served"]["tpot_s"]["value"], rel=0.03)
