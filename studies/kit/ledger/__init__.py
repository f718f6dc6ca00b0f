"""From results to the cells of the paper."""
