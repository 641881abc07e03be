"""What would be read without end is refused in one line, by every reader of a user's table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sizewell.catalog.endless import LONGEST_LINE_BYTES
from sizewell.catalog.figures_file import read_figures
from sizewell.catalog.measurements import file_kind, read_memory_rows
from sizewell.catalog.points import read_point_rows
from sizewell.catalog.trace_rows import first_line
from sizewell.specs.errors import BadInputError

READERS = (file_kind, read_memory_rows, read_point_rows, read_figures, first_line)


@pytest.mark.parametrize("read", READERS)
def test_a_device_is_refused(read: Callable[[Path], object]) -> None:
    with pytest.raises(BadInputError, match="/dev/zero: is a device"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_which_could_be_read_once_only_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadInputError, match="save the table to a file first"):
        read(pipe)


@pytest.mark.parametrize("read", READERS)
def test_a_file_without_lines_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "zeros.csv"
    with file.open("wb") as stream:
        stream.truncate(64 * LONGEST_LINE_BYTES)
    with pytest.raises(BadInputError, match="no line ends"):
        read(file)
