"""Whether evaluation texts were seen in training."""
