"""Speed and memory against named references, both in one run."""
