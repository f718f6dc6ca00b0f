"""What a machine without a network needs beforehand."""
