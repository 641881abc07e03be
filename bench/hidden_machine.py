"""An emulated machine that reaches what nobody is told: `sizewell emulate` with a calibration of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60.0


def free_port() -> int:
    """Return a port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def hide(catalogue: Path, tag: str, scales: Mapping[str, float]) -> None:
    """Write multipliers of what machine and engine of a tag reach into a catalogue."""
    lines = [f'{name} = {{ value = {value}, spread = 0.1, source = "made up" }}' for name, value in scales.items()]
    path = catalogue / "calibrations" / "hidden.toml"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(['name = "hidden"', f'[scales."{tag}"]', *lines, ""]))


@contextmanager
def emulated(words: Sequence[str], port: int, catalogue: Path) -> Iterator[str]:
    """Serve a deployment at the pace a catalogue gives it, for as long as the context lasts; yields its address.

    Ends the program where the server does not start.
    """
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "sizewell", "emulate", *words, "--port", str(port)]
    environment = {**os.environ, "SIZEWELL_CATALOG": str(catalogue)}
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, env=environment)
        try:
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until and server.poll() is None and not _answers(url):
                time.sleep(0.2)
            if server.poll() is not None:
                said.seek(0)
                sys.exit(f"the emulated machine did not start: {said.read()}")
            yield url
        finally:
            server.terminate()
            server.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
