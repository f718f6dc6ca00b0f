"""Processes, devices, locks and checkpoints."""
