"""The encoder or encoder–decoder, its heads, its batches and its losses."""

from muppet.model.multitask import MultiTask

__all__ = ["MultiTask"]
