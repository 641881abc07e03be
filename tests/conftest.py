"""Random examples are the same in every run, so that a commit passes or fails by itself.

`HYPOTHESIS_PROFILE=explore` draws new ones: for whoever looks for what the fixed ones miss.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from sizewell.catalog.machine_code import CodeFolder
from sizewell.simulator import compiled

# No deadlines: what an example takes says how busy the machine is.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile the simulator once for all workers of this run: three seconds for each of its shapes."""
    base = tmp_path_factory.getbasetemp()
    store = CodeFolder((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "code")
    compile_anew = compiled._compiled

    def once(function: Any, shape: Any) -> bytes:
        if not function.__module__.startswith("sizewell."):
            return compile_anew(function, shape)
        name = compiled._name(function, shape)
        code = store.read(name) or compile_anew(function, shape)
        store.write(name, code)
        return code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_compiled", once)
        yield
