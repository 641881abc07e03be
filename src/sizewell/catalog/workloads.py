"""Workload files that come with sizewell, by name."""

from __future__ import annotations

from pathlib import Path

from sizewell.catalog.overlay import data_files
from sizewell.specs.errors import BadInputError, nearest_names


def list_workloads() -> tuple[str, ...]:
    """Return the names of all shipped workloads and the user's own."""
    return tuple(data_files("workloads"))


def workload_path(name: str) -> Path:
    """Return the file of that name: one on disk, else a shipped one; raises BadInputError where there is neither."""
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    files = data_files("workloads")
    if name not in files:
        near = nearest_names(name, files) or sorted(files)
        raise BadInputError(f"{name}: no such file, and no shipped workload; did you mean {', '.join(near)}?")
    return files[name]
