"""What one run does: its value in, its result out."""
