"""One prompt to one server and back, at once or as a stream."""

from __future__ import annotations

from typing import Any

from sizewell.driver.assembly import Assembly, chunk_of, refuse_error
from sizewell.driver.client import Client, encoded, read_json
from sizewell.driver.failures import ExchangeError
from sizewell.driver.prompts import EMBEDDINGS, RESPONSES, Prompt
from sizewell.driver.replies import Reply, reply_of
from sizewell.driver.sse import EventParser


async def ask(client: Client, base: str, prompt: Prompt, *, stream: bool = False) -> Reply:
    """Return the reply to a prompt; raises ExchangeError where there is none.

    Whether the body arrives as a stream is the server's word, its content type; what was asked where that says neither.
    """
    body = dict(prompt.body)
    if prompt.path != EMBEDDINGS and (stream or body.get("stream")):
        body["stream"] = True
        if prompt.path != RESPONSES:
            body["stream_options"] = {"include_usage": True, **(body.get("stream_options") or {})}
    async with client.post(base + prompt.path, encoded(body)) as response:
        kind = response.headers.get("Content-Type", "")
        _refuse_page(kind)
        streamed = "event-stream" in kind or (bool(body.get("stream")) and "json" not in kind)
        found = await _streamed(response) if streamed else await read_json(response)
        refuse_error(found)
        request_id = response.headers.get("x-request-id") or str(found.get("id") or "")
    return reply_of(found, request_id)


async def _streamed(response: Any) -> dict[str, Any]:
    parser, whole = EventParser(), Assembly()
    async for piece in response.content.iter_any():
        for data in parser.feed(piece):
            whole.add(chunk_of(data))
    for data in parser.close():
        whole.add(chunk_of(data))
    return whole.body()


async def refuse_whole(response: Any) -> None:
    """Raise ExchangeError for a body that is no stream where one was asked for: an error, or an answer sent at once."""
    kind = response.headers.get("Content-Type", "")
    if "json" in kind:
        refuse_error(await read_json(response))
        raise ExchangeError("malformed", "the answer came at once and not as a stream")
    _refuse_page(kind)


def _refuse_page(kind: str) -> None:
    """Raise ExchangeError for a page with a good status, as a proxy sends that wants somebody to log in."""
    if "html" in kind:
        raise ExchangeError("malformed", f"the answer is {kind[:80]}: is the address that of a model's server?")
