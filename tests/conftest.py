"""What several test files share: hypothesis settings and a tiny object class with random weights."""

from __future__ import annotations

from hypothesis import settings

# Derandomised: a commit passes or fails on every machine alike. No deadline: CI machines stall.
settings.register_profile("l4f", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("l4f")
