"""Speed, measured: one module per benchmark, each with `measure(...) -> Report`. See README.md for the last tables."""
