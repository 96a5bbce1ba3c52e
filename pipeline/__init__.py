"""pagemill: a page flows source → index → prepare → index → budget → gate → client → sink.

The public API is small: `run()` recognises what a `Job` describes, `Config` holds all settings, `Record` is a line of
results.jsonl. Importing the package costs nothing; the names below are loaded when they are used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Config, load_config
    from pipeline.records import Record, Service
    from pipeline.run import Job, run
    from pipeline.summary import Summary

__all__ = ["Config", "Job", "Record", "Service", "Summary", "load_config", "run"]

_HOME = {"Config": "config", "load_config": "config", "Record": "records", "Service": "records"}


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see the module's docstring

    home = _HOME.get(name, "run")
    module = import_module(f"pipeline.{home}")
    # Importing pipeline.run names the module `run` in this package: all names of a module are set at once, after it.
    globals().update({public: getattr(module, public) for public in __all__ if _HOME.get(public, "run") == home})
    return globals()[name]
