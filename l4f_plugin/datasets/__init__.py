"""Data sets: generated pictures exported with their masks."""
