"""A class on disk: its config and weights, read, written, listed, checked and removed."""
