"""Asks an endpoint whether it listens, is healthy, and really generates: one token."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from sizewell.observer.exchange import Answer, NoAnswerError, Server
from sizewell.specs.address import KEY_VARIABLES, base_url, secret_from
from sizewell.specs.standing import HttpFacts

TOKEN_SHARE = 0.7
"""Of the time there is, what the token may take: a stuck engine must leave time to ask for its health."""
_PROMPT = "1"
_WANTS_KEY = f"it wants an API key: set {KEY_VARIABLES[0]}"
_REFUSED = (400, 404, 422)
_ANOTHER_DIALECT = (400, 404, 405, 422, 500, 501)


def ask(url: str, model: str | None, timeout_s: float) -> HttpFacts:
    """Return what an endpoint answers within `timeout_s`; raises BadInputError for what is no address.

    `model` None asks for the first one served. The API key comes from SIZEWELL_API_KEY or the engine's own variable.
    """
    secret, address = secret_from(os.environ), base_url(url)
    now = time.monotonic()
    try:
        gave, refuses, why = _token(Server(url=address, secret=secret, until_s=now + timeout_s * TOKEN_SHARE), model)
    except NoAnswerError as broken:
        if not broken.listens:
            return HttpFacts(error=str(broken))
        gave, refuses, why = False, False, str(broken)
    try:
        # Asked last: what becomes ready meanwhile is ready.
        healthy, error = _health(Server(url=address, secret=secret, until_s=now + timeout_s))
    except NoAnswerError as broken:
        healthy, error = False, f"/health: {broken}"
    said = "; ".join(part for part in (error, why) if part)
    return HttpFacts(listens=True, healthy=healthy, gave_token=gave, refuses=refuses, error=secret.hide(said))


def ask_health(url: str, timeout_s: float) -> HttpFacts:
    """Return what an engine behind a router answers: it is asked for no token, one of a pool gives none by itself."""
    secret, address = secret_from(os.environ), base_url(url)
    try:
        healthy, error = _health(Server(url=address, secret=secret, until_s=time.monotonic() + timeout_s))
    except NoAnswerError as broken:
        return HttpFacts(listens=broken.listens, behind_router=True, error=secret.hide(str(broken)))
    return HttpFacts(listens=True, healthy=healthy, behind_router=True, error=secret.hide(error))


def _health(server: Server) -> tuple[bool, str]:
    """Some servers have no /health: they are as healthy as the token they give."""
    answer = server.get("/health")
    if answer.status == 200 or answer.status in (404, 405):
        return True, ""
    return False, f"/health says {_status(answer)}"


def _token(server: Server, model: str | None) -> tuple[bool, bool, str]:
    """Return whether a token came, whether it never will, and why not.

    Completions need no chat template, but not every server has them.
    """
    name = model if model is not None else _first_model(server)
    body = {"model": name, "max_tokens": 1, "temperature": 0}
    if name is None:
        del body["model"]
    answer = server.post("/v1/completions", {**body, "prompt": _PROMPT})
    if answer.status in _ANOTHER_DIALECT:
        first, messages = answer, [{"role": "user", "content": _PROMPT}]
        answer = server.post("/v1/chat/completions", {**body, "messages": messages})
        if answer.status in (404, 405):
            answer = first
    if answer.status != 200:
        return False, answer.status in _REFUSED, _status(answer)
    if not _holds_token(answer.json):
        return False, False, "the answer to one token's request holds none"
    return True, False, ""


def _first_model(server: Server) -> str | None:
    listed = server.get("/v1/models").json.get("data")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict) and listed[0].get("id"):
        return str(listed[0]["id"])
    return None


def _status(answer: Answer) -> str:
    if answer.status in (401, 403):
        return f"{answer.status}: {_WANTS_KEY}"
    if 300 <= answer.status < 400:
        return f"{answer.status}: it sends us to another address, which is not followed"
    return f"{answer.status} {answer.message}".strip()


def _holds_token(body: Mapping[str, Any]) -> bool:
    """A token may decode to no text at all, or to reasoning alone: the count of the server decides where it says it."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return False
    usage = body.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
        return bool(usage["completion_tokens"] > 0)
    first = choices[0]
    message = first.get("message")
    texts = [first.get("text"), *(message.values() if isinstance(message, dict) else ())]
    said = any(isinstance(text, str) and text for text in texts if text != "assistant")
    return said or first.get("finish_reason") == "length"
