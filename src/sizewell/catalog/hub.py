"""Configurations from the Hugging Face hub: small files, never weights, and nothing of it is ever executed.

HF_ENDPOINT and HF_TOKEN mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import os
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from sizewell.catalog.hub_cache import hub_token
from sizewell.specs.errors import BadInputError, UnknownNameError, UnreachableError

DEFAULT_ENDPOINT = "https://huggingface.co"
TIMEOUT_S = 10.0
LARGEST_DOWNLOAD_BYTES = 4 * 2**20


class _KeepTokenHome(HTTPRedirectHandler):
    """Follows redirects without carrying the token to another host."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if request is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            request.remove_header("Authorization")
        return request


def download(name: str, file: str, first_bytes: int | None = None) -> bytes | None:
    """Return a small file of a model's main revision, None when the model has no such file.

    `first_bytes` asks for the beginning alone. Raises UnknownNameError when there is no such model,
    BadInputError when it needs a token or the file is too large, UnreachableError when the hub does not answer.
    """
    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    if urlsplit(endpoint).scheme not in ("https", "http"):
        raise BadInputError(f"HF_ENDPOINT is {endpoint!r}, expected an http(s) address")
    headers = {"User-Agent": "sizewell", **_authorization()}
    if first_bytes:
        headers["Range"] = f"bytes=0-{first_bytes - 1}"
    request = Request(f"{endpoint}/{name}/resolve/main/{file}", headers=headers)
    try:
        return _read(build_opener(_KeepTokenHome), request, f"{name}/{file}", first_bytes)
    except HTTPError as error:
        _refuse(name, error)
        return None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnreachableError(f"{name}: the hub at {endpoint} did not answer ({reason}); give a folder") from None


def _authorization() -> dict[str, str]:
    """Return the header that carries the token; line ends around it are a file's, and it is never part of a message."""
    token = hub_token()
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise BadInputError("HF_TOKEN holds characters no token has, or the token a login stored: set it anew")
    return {"Authorization": f"Bearer {token}"}


def _read(opener: OpenerDirector, request: Request, source: str, first_bytes: int | None) -> bytes:
    limit = first_bytes or LARGEST_DOWNLOAD_BYTES
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        raw: bytes = answer.read(limit + (0 if first_bytes else 1))
    if len(raw) > limit:
        raise BadInputError(f"{source}: is larger than {LARGEST_DOWNLOAD_BYTES} bytes")
    return raw


def _refuse(name: str, error: HTTPError) -> None:
    # Returns when only the file is missing, not the model.
    with error:
        kind = error.headers.get("X-Error-Code", "") if error.headers else ""
    if error.code == 404 and kind == "EntryNotFound":
        return
    if error.code in (401, 403) and kind != "RepoNotFound":
        raise BadInputError(
            f"{name}: the hub asks for permission ({error.code}); accept its licence there, and log in or set HF_TOKEN"
        ) from None
    if error.code in (401, 404):
        raise UnknownNameError("model", name, (), "(neither shipped nor on the hub; a private one needs HF_TOKEN)")
    raise UnreachableError(f"{name}: the hub answered {error.code}; try again or give a folder") from None
