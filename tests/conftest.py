"""Random examples are the same in every run, so that a commit passes or fails by itself.

`HYPOTHESIS_PROFILE=explore` draws new ones: for whoever looks for what the fixed ones miss.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
