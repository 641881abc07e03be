"""Tables, packed files and other encodings: read as they were meant, or refused; never a part of a prompt."""

from __future__ import annotations

import bz2
import gzip
import io
import sys
from pathlib import Path

import pytest

from sizewell.driver.prompt_files import STDIN, read_rows, stem_of
from sizewell.specs.errors import BadInputError

TABLE = "id{0}prompt\n1{0}one\n2{0}two\n"


def _prompts(path: Path) -> list[tuple[str, str]]:
    return [(row.own_id, row.body["messages"][-1]["content"]) for row in read_rows(path)]


@pytest.mark.parametrize(("name", "mark"), [("p.csv", ","), ("p.csv", ";"), ("p.csv", "\t"), ("p.tsv", "\t")])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("begins", ["", "\ufeff"])
def test_a_table_is_read_however_its_cells_are_parted(
    here: Path, name: str, mark: str, packed: bool, begins: str
) -> None:
    data = (begins + TABLE.format(mark)).encode()
    path = here / (f"{name}.GZ" if packed else name)
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    assert _prompts(path) == [("1", "one"), ("2", "two")]
    assert stem_of(path) == "p"


def test_a_table_of_a_spreadsheet(here: Path) -> None:
    """Heads in words, rows of commas at the end, UTF-16 as Windows writes it; fields of a request are asked with."""
    text = "ID,User Prompt,Temperature,Notes\r\n1,one,0.5,mine\r\n2,two,,\r\n,,,\r\n"
    (here / "p.csv").write_bytes(text.encode("utf-16"))
    first, second = read_rows(here / "p.csv")
    assert (first.own_id, first.body) == ("1", {"messages": [{"role": "user", "content": "one"}], "temperature": 0.5})
    assert (second.own_id, second.body) == ("2", {"messages": [{"role": "user", "content": "two"}]})


@pytest.mark.parametrize("text", [TABLE.format(","), TABLE.format("\t")])
def test_a_table_on_standard_input_is_told_by_its_head(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, rows in (
        (text, [("1", "one"), ("2", "two")]),
        ("prompt\nwhat, when\n", [("", "prompt"), ("", "what, when")]),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        assert _prompts(STDIN) == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,prompt\n1,What is 2+2, exactly?\n", "p.csv:2: more cells than the head has"),
        ('id,prompt\n1,one\n2,"two\n3,three\n', "p.csv: after line 2: unexpected end of data"),
        ('id,prompt\n1,"one" more\n', "p.csv: after line 1"),
        ("id,name\n1,one\n", "p.csv:1: no column is named prompt"),
    ],
)
def test_no_prompt_is_cut_and_none_swallows_the_next(here: Path, text: str, says: str) -> None:
    (here / "p.csv").write_text(text)
    with pytest.raises(BadInputError, match=says):
        read_rows(here / "p.csv")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("prompt\ncaf\u00e9\n".encode("cp1252"), "iconv -f WINDOWS-1252"),
        ("prompt\none\n".encode("utf-16")[:-1], "is not UTF-16"),
        (bz2.compress(b"prompt\none\n"), "packed by bzip2"),
        (gzip.compress(b"prompt\none\n" * 99, mtime=0)[:20], "cannot be unzipped"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(here: Path, data: bytes, says: str) -> None:
    (here / "p.csv").write_bytes(data)
    with pytest.raises(BadInputError, match=says):
        read_rows(here / "p.csv")
