"""A test double of an OpenAI-compatible server: raw asyncio, scripted answers, faults on demand.

As a program (`python double.py --port 0`) it prints its port and answers plainly; tests script it in their own process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal["stall", "reset", "truncate", "malformed", "slow-headers", "error-event", "page"]
Dialect = Literal["none", "reasoning", "reasoning_content", "tags", "unopened", "unclosed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the double does with one request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: str = "scripted"
    fault: Fault | None = None
    dialect: Dialect = "none"
    think: str = "let me see"
    text: str = ""
    tokens: int = 4
    delay_s: float = 0.0
    gap_s: float = 0.0
    repeat: int = 1
    newline: str = "\n"
    usage: bool = True
    cut_bytes: int = 0
    prompt_tokens: int | None = None


Script = Callable[[dict[str, Any], int], Answer]


def prompt_of(body: dict[str, Any]) -> str:
    """Return what a request asks."""
    if "input" in body:
        return str(body["input"])
    return str(body["messages"][-1]["content"]) if "messages" in body else str(body.get("prompt"))


def plain(body: dict[str, Any], _number: int) -> Answer:
    """Answer at once."""
    return Answer(text=f"answer to {prompt_of(body)}")


class Double:
    """The server. `seen` are the prompts it was asked, `log` the headers; `script` may be changed while it runs.

    `streamed`: of each stream when its request had come, and when each of its events was about to be.
    """

    def __init__(self, script: Script = plain) -> None:
        self.script = script
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self.streamed: list[list[float]] = []
        self.grow: dict[str, float] = {}
        self.scraped = 0
        self.settings: dict[str, Any] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = await reader.readline()
        if not line:
            return False
        method, path, _ = line.decode().split()
        headers: dict[str, str] = {}
        while raw := (await reader.readline()).strip():
            name, _, value = raw.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            self._get(path, writer)
            await writer.drain()
            return True
        self.headers.append(headers)
        body = json.loads(data)
        self.bodies.append(body)
        self.seen.append(prompt_of(body))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._post(self.script(body, len(self.seen)), body, writer, path)
        finally:
            self.in_flight -= 1

    def _get(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/v1/models":
            _send(writer, 200, {"object": "list", "data": [{"id": "double"}]})
        elif path == "/metrics":
            self.scraped += 1
            lines = [f'{name}{{engine="0"}} {value * self.scraped}' for name, value in self.grow.items()]
            _send_text(writer, 200, "# HELP x\n" + "\n".join(lines) + "\n", "text/plain")
        elif path == "/server_info" and self.settings is not None:
            _send(writer, 200, self.settings)
        else:
            _send(writer, 404, {"detail": "Not Found"})

    async def _post(
        self, answer: Answer, body: dict[str, Any], writer: asyncio.StreamWriter, path: str
    ) -> bool:  # fmt: skip
        if answer.delay_s and answer.fault != "slow-headers" and not body.get("stream"):
            await asyncio.sleep(answer.delay_s)
        if answer.status != 200:
            _send(writer, answer.status, {"error": {"message": answer.error, "code": answer.status}}, answer.headers)
        elif answer.fault == "page":
            _send_text(writer, 200, "<html>Sign in</html>", "text/html; charset=utf-8")
        elif body.get("stream"):
            return await self._stream(answer, body, writer, path)
        elif answer.fault in ("reset", "truncate"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            writer.transport.abort() if answer.fault == "reset" else writer.close()
            return False
        elif answer.fault in ("stall", "slow-headers"):
            await asyncio.sleep(answer.delay_s or 3600)
            return False
        elif answer.fault == "malformed":
            _send_text(writer, 200, "{broken", "application/json")
        else:
            _send(writer, 200, whole_body(answer, body, path))
        await writer.drain()
        return True

    async def _stream(
        self, answer: Answer, body: dict[str, Any], writer: asyncio.StreamWriter, path: str
    ) -> bool:  # fmt: skip
        self.streamed.append(written := [time.monotonic()])
        if answer.fault == "slow-headers":
            await asyncio.sleep(answer.delay_s or 3600)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(answer.delay_s)
        data = stream_events(answer, body, path)
        for number, event in enumerate(data):
            if answer.fault and number == len(data) // 2:
                if not await _failed(answer.fault, writer):
                    return answer.fault == "truncate"
                continue
            written.append(time.monotonic())
            for piece in _cut(event, answer.cut_bytes):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if answer.cut_bytes:
                    await writer.drain()
                    await asyncio.sleep(0)
            if answer.gap_s:
                await asyncio.sleep(answer.gap_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _failed(fault: Fault, writer: asyncio.StreamWriter) -> bool:
    """Break a stream in its middle; return whether it goes on."""
    if fault == "stall":
        await asyncio.sleep(3600)
    if fault == "reset":
        writer.transport.abort()
    elif fault == "truncate":
        writer.write(b"0\r\n\r\n")
    else:
        said = {
            "malformed": b"data: {broken\n\n",
            "error-event": b'data: {"error": {"message": "died", "code": 500}}\n\n',
        }
        writer.write(b"%x\r\n%b\r\n" % (len(said[fault]), said[fault]))
        return True
    return False


def _cut(event: bytes, size: int) -> Iterator[bytes]:
    step = size or len(event)
    for start in range(0, len(event), step):
        yield event[start : start + step]


def whole_body(answer: Answer, body: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the body of an answer sent at once."""
    if path == "/v1/embeddings":
        return {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3}}
    if path == "/v1/responses":
        return response_body(answer)
    message: dict[str, Any] = {"role": "assistant", "content": answer.text * answer.repeat}
    if answer.dialect in ("reasoning", "reasoning_content"):
        message[answer.dialect] = answer.think
    elif answer.dialect != "none":
        message["content"] = tagged(answer)
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    if path == "/v1/completions":
        choice = {"index": 0, "finish_reason": "stop", "text": message["content"]}
    return {"id": "double-1", "model": body.get("model"), "choices": [choice], **_usage(answer, body)}


def response_body(answer: Answer) -> dict[str, Any]:
    """Return a response: what was thought, as an item of its own, and a message in two parts."""
    half = len(answer.text) // 2
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": answer.think}]}
    parts = [{"type": "output_text", "text": text} for text in (answer.text[:half], answer.text[half:])]
    items = [*([thought] if answer.dialect == "reasoning" else []), {"type": "message", "content": parts}]
    details = {"output_tokens_details": {"reasoning_tokens": 2}} if answer.dialect == "reasoning" else {}
    usage = {"input_tokens": 3, "output_tokens": answer.tokens, **details}
    return {"id": "resp-1", "object": "response", "status": "completed", "error": None, "output": items, "usage": usage}


def tagged(answer: Answer) -> str:
    """Return thinking and answer in one text."""
    forms = {
        "tags": f"<think>\n{answer.think}\n</think>\n\n{answer.text}",
        "unopened": f"{answer.think}\n</think>\n\n{answer.text}",
        "unclosed": f"<think>\n{answer.think}",
    }
    return forms[answer.dialect]


def _usage(answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
    if not answer.usage:
        return {}
    prompt = body.get("prompt")
    words = len(prompt) if isinstance(prompt, list) else len(prompt_of(body).split())
    counts = {"prompt_tokens": answer.prompt_tokens or words, "completion_tokens": answer.tokens}
    if answer.dialect != "none":
        counts["completion_tokens_details"] = {"reasoning_tokens": 2}  # type: ignore[assignment]
    return {"usage": counts}


def stream_events(answer: Answer, body: dict[str, Any], path: str) -> list[bytes]:
    """Return the events of an answer sent as a stream."""
    if path == "/v1/responses":
        told = [{"type": "response.output_text.delta", "delta": part} for part in _parts(answer.text)]
        told.append({"type": "response.completed", "response": response_body(answer)})
        return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]
    end, chat = answer.newline, path != "/v1/completions"
    made: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}] if chat else []
    if answer.dialect in ("reasoning", "reasoning_content"):
        made += [{"delta": {answer.dialect: part}} for part in _parts(answer.think)]
    text = (
        answer.text * answer.repeat if answer.dialect in ("none", "reasoning", "reasoning_content") else tagged(answer)
    )
    pieces = [answer.text] * answer.repeat if answer.repeat > 1 else _parts(text)
    made += [{"delta": {"content": part}} if chat else {"text": part} for part in pieces]
    made.append({"delta": {}, "finish_reason": "stop"} if chat else {"text": "", "finish_reason": "stop"})
    chunks = [{"id": "double-1", "choices": [{"index": 0, **one}]} for one in made]
    if answer.usage and (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({"id": "double-1", "choices": [], **_usage(answer, body)})
    events = [f": keep-alive{end}{end}"]
    events += [f"data: {json.dumps(chunk, ensure_ascii=False)}{end}{end}" for chunk in chunks]
    return [event.encode() for event in [*events, f"data: [DONE]{end}{end}"]]


def _parts(text: str) -> list[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]


def _send(
    writer: asyncio.StreamWriter, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:  # fmt: skip
    _send_text(writer, status, json.dumps(body), "application/json", headers)


def _send_text(
    writer: asyncio.StreamWriter, status: int, text: str, kind: str, headers: dict[str, str] | None = None
) -> None:  # fmt: skip
    data = text.encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


@contextlib.contextmanager
def running(script: Script = plain) -> Iterator[tuple[str, Double]]:
    """Run a double in a thread of its own; yields its address and the double."""
    double, ready = Double(script), threading.Event()
    loop = asyncio.new_event_loop()
    ports: list[int] = []

    async def start() -> None:
        server = await asyncio.start_server(double.serve, "127.0.0.1", 0, limit=2**24)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{ports[0]}", double
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def main() -> None:
    """Serve until killed; the answer takes `--delay` seconds, or streams `--tokens` chunks `--gap` seconds apart."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--log", help="Append each prompt asked, a line.")
    given = parser.parse_args()
    log = open(given.log, "a", buffering=1) if given.log else None  # noqa: SIM115  # lives as long as the process

    def script(body: dict[str, Any], _number: int) -> Answer:
        if log is not None:
            log.write(f"{time.time()} {prompt_of(body)}\n")
        return Answer(text=f"answer to {prompt_of(body)}", delay_s=given.delay)

    async def serve() -> None:
        server = await asyncio.start_server(Double(script).serve, "127.0.0.1", given.port, limit=2**24)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
