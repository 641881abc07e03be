"""The Hugging Face cache on this machine: HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN as huggingface_hub reads
them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sizewell.specs.errors import BadInputError

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form organisation/model."""
    return HUB_ID.fullmatch(name) is not None and ".." not in name


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def cache_folder() -> Path:
    """Return the folder in which huggingface_hub keeps downloads."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    return _home() / "hub"


def hub_token() -> str:
    """Return the hub's token: that of HF_TOKEN, else the one a login has stored; empty without one."""
    said = os.environ.get("HF_TOKEN", "").strip()
    stored = Path(os.path.expanduser(os.environ.get("HF_TOKEN_PATH") or _home() / "token"))
    if said or not stored.is_file():
        return said
    try:
        return stored.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{stored}: the stored token cannot be read: {error}; set HF_TOKEN") from error


def _home() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    # Path.expanduser would raise for a user without a home.
    return Path(os.path.expanduser(home))


def cached_snapshot(name: str) -> Path | None:
    """Return the cached snapshot of a model that holds a config.json: main if there, else the newest."""
    folder = cache_folder() / f"models--{name.replace('/', '--')}"
    snapshots = [path for path in folder.glob("snapshots/*") if (path / "config.json").is_file()]
    if not snapshots:
        return None
    main = folder / "refs" / "main"
    revision = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else ""
    chosen = [path for path in snapshots if path.name == revision]
    return chosen[0] if chosen else max(snapshots, key=lambda path: path.stat().st_mtime)
