"""Fast and deterministic: hypothesis draws the same examples every time, and a busy machine fails nothing."""

from hypothesis import settings

settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")
