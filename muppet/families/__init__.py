"""One file per family of tasks: from a dataset's row to its score."""
