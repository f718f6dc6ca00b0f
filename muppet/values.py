"""Frozen values that are hashed once: runs nest dozens of tasks, and a study looks them up by the ten thousand."""

from __future__ import annotations

from typing import Any, TypeVar

Value = TypeVar("Value")


def hash_once(cls: type[Value]) -> type[Value]:
    """Keep each instance's hash beside its fields; pickles leave it out, since a text's hash differs by process."""
    compute: Any = cls.__hash__

    def hashed(self: Any) -> int:
        known = self.__dict__.get("_hash")
        if known is None:
            known = compute(self)
            object.__setattr__(self, "_hash", known)
        return known

    def state(self: Any) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    open_class: Any = cls
    open_class.__hash__, open_class.__getstate__ = hashed, state
    return cls
