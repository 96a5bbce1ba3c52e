"""pagemill: a page flows inputs → index → inputs (prepare) → index → ledger → remote (gate, client) → sink.

The public API: `run` (in an event loop), `run_sync`, `stream` and `events` do what a `Job` describes, `load_config` and
`Config` hold the settings, `read_records` yields the last `Record` of each page, `to_row` makes it a row of a table.
Importing the package loads none of them; each is loaded at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.batch.events import Event, Pause
    from pipeline.batch.job import Job
    from pipeline.batch.observers import Start
    from pipeline.batch.run_thread import run_sync
    from pipeline.batch.runner import run
    from pipeline.batch.stream import Stream, events, stream
    from pipeline.batch.summary import Summary
    from pipeline.config import Config, load_config
    from pipeline.errors import StopError
    from pipeline.records import Failure, Record, State
    from pipeline.service import Service
    from pipeline.workspace.reader import read_records
    from pipeline.workspace.rows import to_row

__all__ = [
    "Config",
    "Event",
    "Failure",
    "Job",
    "Pause",
    "Record",
    "Service",
    "Start",
    "State",
    "StopError",
    "Stream",
    "Summary",
    "events",
    "load_config",
    "read_records",
    "run",
    "run_sync",
    "stream",
    "to_row",
]

_MODULES = {
    "Config": "config",
    "Event": "batch.events",
    "Failure": "records",
    "Job": "batch.job",
    "Pause": "batch.events",
    "Record": "records",
    "Service": "service",
    "Start": "batch.observers",
    "State": "records",
    "StopError": "errors",
    "Stream": "batch.stream",
    "Summary": "batch.summary",
    "events": "batch.stream",
    "load_config": "config",
    "read_records": "workspace.reader",
    "run": "batch.runner",
    "run_sync": "batch.run_thread",
    "stream": "batch.stream",
    "to_row": "workspace.rows",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"pipeline.{_MODULES[name]}"), name)
    return value
