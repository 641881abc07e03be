"""A proxy on this machine: passes plain requests on to one server, whatever name they are for, and refuses tunnels."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

OWN_HEADERS = ("proxy-authorization", "connection", "host")


@dataclass(slots=True)
class Forwarder:
    """`asked` are the addresses it was asked for, tunnels as `CONNECT HOST:PORT`, each with what it was shown."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def forwarding(server: str, tunnel_status: int = 502) -> Iterator[Forwarder]:
    """Run a proxy before a server; tunnels get a status."""
    forwarder, target = Forwarder(), urlsplit(server)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_CONNECT(self) -> None:
            forwarder.asked.append((f"CONNECT {self.path}", self.headers.get("Proxy-Authorization", "")))
            self.send_error(tunnel_status)

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            forwarder.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            onward = http.client.HTTPConnection(target.hostname or "", target.port, timeout=10)
            kept = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
            onward.request(self.command, urlsplit(self.path).path, body=body or None, headers=kept)
            answer = onward.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            onward.close()

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    forwarder.url = f"http://127.0.0.1:{proxy.server_port}"
    try:
        yield forwarder
    finally:
        proxy.shutdown()
        proxy.server_close()
