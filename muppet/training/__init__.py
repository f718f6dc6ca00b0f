"""One update of many sub-batches, their order, and the loop."""
