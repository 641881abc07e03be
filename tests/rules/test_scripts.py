"""Scripts beside the package ask it for names it has: nothing else reads them before somebody needs their figures."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("bench/**/*.py"), *ROOT.glob("tools/**/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_of_the_package_is_there(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("sizewell"):
            continue
        for name in node.names:
            try:
                found = hasattr(importlib.import_module(str(node.module)), name.name)
            except ModuleNotFoundError:
                found = False
            if not found:
                importlib.import_module(f"{node.module}.{name.name}")
