"""Sharing a class: a model repository or a Space made of it, after a look at what its licence allows."""
