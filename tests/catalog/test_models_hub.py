"""The hub over HTTP: a stand-in server on this machine says what the real one would."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from sizewell.catalog.hub import download
from sizewell.catalog.models import read_model
from sizewell.specs.errors import BadInputError, UnknownNameError, UnreachableError

SMALL = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 1000, "tie_word_embeddings": True,
}  # fmt: skip
HEADER = json.dumps({"w": {"dtype": "BF16", "shape": [8, 4], "data_offsets": [0, 64]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(64)


class Hub(BaseHTTPRequestHandler):
    """Serves `files`; everything else is missing, gated or broken by the name of the model."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []
    elsewhere: ClassVar[str] = ""

    def do_GET(self) -> None:
        Hub.asked.append((self.path, self.headers.get("Authorization", "")))
        if self.path in Hub.files:
            body = Hub.files[self.path]
            if first := self.headers.get("Range", "").removeprefix("bytes=0-"):
                body = body[: int(first) + 1]
            self._answer(200, body)
        elif self.path.startswith("/gated/"):
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif self.path.startswith("/broken/"):
            self._answer(500, b"")
        elif self.path.startswith("/moved/"):
            self._answer(302, b"", {"Location": f"{Hub.elsewhere}/me/mine/resolve/main/{self.path.rpartition('/')[2]}"})
        else:
            known = any(path.startswith("/".join(self.path.split("/")[:3])) for path in Hub.files)
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / "catalog"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    Hub.files, Hub.asked = {"/me/mine/resolve/main/config.json": json.dumps(SMALL).encode()}, []
    yield address
    server.shutdown()
    server.server_close()


def test_a_configuration_comes_over_the_network() -> None:
    model = read_model("me/mine")
    assert (model.name, len(model.layers), model.exact_sizes) == ("me/mine", 2, None)


@pytest.mark.parametrize("token", ["hf_first\nhf_second", "hf_\u20acuro", "hf_\x07bell"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BadInputError, match="HF_TOKEN holds") as caught:
        download("me/mine", "config.json")
    assert "hf_" not in str(caught.value)


def test_the_token_of_a_file_loses_its_line_end(monkeypatch: pytest.MonkeyPatch, hub: str) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    read_model("me/mine")
    assert {token for _, token in Hub.asked} == {"Bearer hf_secret"}


def test_a_stored_login_is_used_where_no_token_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_stored\n")
    read_model("me/mine")
    assert {token for _, token in Hub.asked} == {"Bearer hf_stored"}
    Hub.asked.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_set")
    download("me/mine", "config.json")
    assert {token for _, token in Hub.asked} == {"Bearer hf_set"}
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_bytes(b"\xff")
    with pytest.raises(BadInputError, match="stored token cannot be read"):
        download("me/mine", "config.json")


def test_the_token_is_sent_and_only_to_the_hub(monkeypatch: pytest.MonkeyPatch, hub: str) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Hub.elsewhere = hub.replace("127.0.0.1", "localhost")
    read_model("moved/mine")
    moved = [token for path, token in Hub.asked if path.startswith("/moved/")]
    arrived = [token for path, token in Hub.asked if path.startswith("/me/mine/resolve/main/config")]
    assert moved[0] == "Bearer hf_secret"
    assert arrived == [""]


def test_the_index_gives_exact_bytes() -> None:
    index = {"metadata": {"total_size": 12345}, "weight_map": {"w": "model-00001-of-00003.safetensors"}}
    Hub.files["/me/mine/resolve/main/model.safetensors.index.json"] = json.dumps(index).encode()
    sizes = read_model("me/mine").exact_sizes
    assert sizes is not None
    assert (sizes.total_bytes, sizes.files) == (12345, 3)


def test_the_header_of_a_single_file_is_read_without_its_weights() -> None:
    Hub.files["/me/mine/resolve/main/model.safetensors"] = WEIGHTS
    sizes = read_model("me/mine").exact_sizes
    assert sizes is not None
    assert (sizes.total_bytes, sizes.parameters, sizes.files) == (64, 32, 1)


def test_modelopt_settings_beside_the_configuration_count() -> None:
    settings = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    Hub.files["/me/mine/resolve/main/hf_quant_config.json"] = json.dumps(settings).encode()
    model = read_model("me/mine")
    assert (model.weight_format, model.kv_format) == ("fp8-tensor", "fp8")


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="neither shipped nor on the hub"):
        read_model("no/such")


def test_a_gated_model_says_how_to_get_in() -> None:
    with pytest.raises(BadInputError, match="HF_TOKEN"):
        read_model("gated/model")


def test_a_hub_that_fails_or_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError, match="500"):
        read_model("broken/model")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="did not answer"):
        read_model("me/mine")


def test_an_endpoint_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(BadInputError, match="HF_ENDPOINT"):
        read_model("me/mine")


def test_a_configuration_too_large_is_refused() -> None:
    Hub.files["/me/mine/resolve/main/config.json"] = b" " * (4 * 2**20 + 1)
    with pytest.raises(BadInputError, match="larger than"):
        read_model("me/mine")
