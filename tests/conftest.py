"""Fast and deterministic: hypothesis draws the same examples every time, and a busy machine fails nothing."""

import os

# Before torch is imported anywhere: threads that spin while they wait make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")
