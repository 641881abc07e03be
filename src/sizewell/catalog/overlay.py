"""Where facts lie: the files shipped with sizewell, and a folder of the user's own that wins over them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sizewell.catalog.whole_files import whole_file
from sizewell.specs.errors import BadInputError

SHIPPED = Path(__file__).parent / "data"
VARIABLE, HOME = "SIZEWELL_CATALOG", "SIZEWELL_HOME"


def overlay_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the user's own catalogue folder, which need not exist.

    It is $SIZEWELL_CATALOG, else `catalog` in $SIZEWELL_HOME, where records and deployments are, else
    `sizewell/catalog` in $XDG_CONFIG_HOME or ~/.config. Raises BadInputError when the first variable is set to
    something that is not a folder.
    """
    found = os.environ if environment is None else environment
    stated = found.get(VARIABLE)
    if not stated:
        if found.get(HOME):
            return Path(found[HOME]) / "catalog"
        # Path.home would raise for a user without a home.
        return Path(found.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "sizewell" / "catalog"
    folder = Path(stated).expanduser()
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{VARIABLE}={stated} is not a folder; name the folder that holds gpus/, nodes/, prices/ …")
    return folder


def data_files(kind: str, overlay: Path | None = None) -> dict[str, Path]:
    """Return the TOML files of one sub-folder by key (= file name); the user's file replaces the shipped one.

    Shipped keys come first, in alphabetical order, then the keys only the user has.
    """
    own = overlay_folder() if overlay is None else overlay
    return {path.stem: path for folder in (SHIPPED, own) for path in sorted((folder / kind).glob("*.toml"))}


@cache
def remembered_files(kind: str, overlay: Path) -> dict[str, Path]:
    """Return `data_files`, listed once a process: hardware does not change under a running command."""
    return data_files(kind, overlay)


def is_shipped(path: Path) -> bool:
    """Return whether a data file came with sizewell."""
    return path.is_relative_to(SHIPPED)


def write_files(files: Mapping[str, str]) -> list[Path]:
    """Write files into the user's own catalogue, each whole or not at all, and return where they lie."""
    written = []
    for name, text in files.items():
        path = overlay_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text)
        written.append(path)
    return written
