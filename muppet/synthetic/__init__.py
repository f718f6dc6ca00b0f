"""Twins of the datasets and tiny models, for trying everything without a download."""
