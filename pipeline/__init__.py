"""pagemill: a page flows inputs → index → inputs (prepare) → index → ledger → remote (gate, client) → sink.

The public API: `run` (in an event loop) and `run_sync` do what a `Job` describes, `load_config` and `Config` hold the
settings, `read_records` yields the last `Record` of each page. Importing the package loads none of them; each is loaded
at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.batch.job import Job
    from pipeline.batch.progress import Summary
    from pipeline.batch.runner import run, run_sync
    from pipeline.config import Config, load_config
    from pipeline.records import Record
    from pipeline.service import Service
    from pipeline.workspace.reader import read_records

__all__ = ["Config", "Job", "Record", "Service", "Summary", "load_config", "read_records", "run", "run_sync"]

_MODULES = {
    "Config": "config",
    "Job": "batch.job",
    "Record": "records",
    "Service": "service",
    "Summary": "batch.progress",
    "load_config": "config",
    "read_records": "workspace.reader",
    "run": "batch.runner",
    "run_sync": "batch.runner",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"pipeline.{_MODULES[name]}"), name)
    return value
