"""The README's Python runs, its first screen is short, and what it shows is what the program prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import sizewell

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3


def test_every_name_of_the_package_exists_and_import_costs_nothing() -> None:
    assert all(getattr(sizewell, name) is not None for name in sizewell.__all__)
    code = "import sys, sizewell; print(len([m for m in sys.modules if m.startswith(('numpy', 'click', 'sizewell.'))]))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"


def test_a_name_it_does_not_have_is_an_attribute_error() -> None:
    assert not hasattr(sizewell, "nothing_of_the_kind")
