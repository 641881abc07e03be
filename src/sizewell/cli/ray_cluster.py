"""The way to a Ray cluster, for the commands that can work on one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any

from sizewell.specs.errors import BadInputError, UnreachableError


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give the library `ray` for the length of a block, connected to `auto` or the `host:port` of a cluster's head.

    Raises BadInputError where Ray is not installed or no cluster answers, UnreachableError where it is lost meanwhile.
    """
    try:
        ray = import_module("ray")
    except ImportError:
        raise BadInputError("--ray needs Ray: pip install 'sizewell[ray]'") from None
    _check_listens(address)
    with redirect_stdout(sys.stderr):  # where Ray would say that a worker died, and at last repeat it, is the result
        yield from _connected(ray, address)


def _connected(ray: Any, address: str) -> Iterator[Any]:
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadInputError(f"--ray {address}: no Ray cluster answers there ({str(error).splitlines()[0]})") from error
    try:
        yield ray
    except ray.exceptions.RayTaskError:  # our own fault on a node: it keeps its traceback
        raise
    except ray.exceptions.RayError as error:
        raise UnreachableError(f"--ray {address}: the cluster gave the work up: {error}") from error
    finally:
        ray.shutdown()


def _check_listens(address: str) -> None:
    """Refuse an address where nobody listens at once: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise BadInputError(f"--ray {address}: no Ray cluster answers there ({error})") from error
