"""Inside a worker of a local launch (`crew.py` has the workers): runs as their ids come in, one after another."""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from muppet.errors import Stopped, UserError
from studies.kit.ledger import folder

REPORT_S = 0.5  # between two progress messages


def serve(runner: str, profile: str, connection: Connection) -> None:
    """Do runs as their ids come in, until None comes; SIGTERM stops a run, and SIGINT is ignored from the start."""
    execute = pkgutil.resolve_name(runner)
    try:
        for name in iter(connection.recv, None):
            folder.print_to(name)
            outcome = _do(execute, profile, name, connection)
            sys.stdout.flush()
            connection.send(("outcome", outcome))
            if outcome == "stopped":
                return
    except (EOFError, OSError):
        return  # the launcher is gone


def _do(execute: Callable[..., Mapping[str, str]], profile: str, name: str, connection: Connection) -> str:
    last = 0.0

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last < REPORT_S:
            return
        last = time.monotonic()
        try:
            connection.send(("progress", dict(progress)))
        except OSError:
            os.kill(os.getpid(), signal.SIGTERM)  # nobody listens any more: checkpoint and stop

    try:
        return execute(profile, [name], report)[name]
    except Stopped:
        return "stopped"
    except UserError as error:
        folder.fail(name, error)
        return "failed"
