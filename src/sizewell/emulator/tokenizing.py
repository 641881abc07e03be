"""vLLM's /tokenize and /detokenize, with the tokens the emulator counts: four bytes each."""

from __future__ import annotations

from typing import Any

from sizewell.emulator.asks import chat_prompt, is_token, read_fields
from sizewell.emulator.deployment import Emulation
from sizewell.emulator.fields import Fields, Refusal
from sizewell.emulator.http import Exchange
from sizewell.emulator.tokens import bytes_as_ids, ids_as_bytes, padded, role_bytes, whole_tokens

PATHS = ("/tokenize", "/detokenize")


def answer(exchange: Exchange, emulation: Emulation) -> None:
    """Answer a request for the tokens of a text or a conversation, or for the text of tokens."""
    try:
        fields = read_fields(exchange.body, exchange.headers.get("content-type", ""), emulation, chat=True)
        body = _text(fields) if exchange.path == "/detokenize" else _tokens(fields, emulation)
    except Refusal as refusal:
        exchange.respond(refusal.status, refusal.body)
        return
    exchange.respond(200, body)


def _text(fields: Fields) -> Any:
    tokens = fields.get("tokens")
    if not isinstance(tokens, list) or not all(is_token(each) for each in tokens):
        raise fields.refusal("tokens", "must be a list of token ids")
    return {"prompt": _said(ids_as_bytes(tokens))}


def _tokens(fields: Fields, emulation: Emulation) -> Any:
    data = _prompt(fields)
    pieces = whole_tokens(data)
    strings = [_said(piece) for piece in pieces] if fields.switch("return_token_strs") else None
    length = emulation.max_model_len_tokens
    return {"count": len(pieces), "max_model_len": length, "tokens": bytes_as_ids(data), "token_strs": strings}


def _prompt(fields: Fields) -> bytes:
    if fields.get("messages") is None:
        text = fields.get("prompt")
        if not isinstance(text, str):
            raise fields.refusal("prompt", "must be a text, or messages a conversation")
        return padded(text.encode("utf-8", "surrogatepass"))
    data, _ = chat_prompt(fields)
    opened = fields.get("add_generation_prompt") is None or fields.switch("add_generation_prompt")
    return data if opened else data.removesuffix(role_bytes("assistant"))


def _said(data: bytes) -> str:
    return data.decode("utf-8", "replace")
