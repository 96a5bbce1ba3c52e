"""pagemill: a page flows source → index → prepare → index → budget → gate → client → sink.

The public API is small: `run()` recognises what a `Job` describes, `Config` holds all settings, `Record` is a line of
results.jsonl. Importing the package costs nothing; the names below are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.batch.progress import Summary
    from pipeline.batch.runner import Job, run
    from pipeline.config import Config, load_config
    from pipeline.records import Record, Service

__all__ = ["Config", "Job", "Record", "Service", "Summary", "load_config", "run"]

_HOMES = {
    "Config": "config",
    "Job": "batch.runner",
    "Record": "records",
    "Service": "records",
    "Summary": "batch.summary",
    "load_config": "config",
    "run": "batch.runner",
}


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"pipeline.{_HOMES[name]}"), name)
    return value
