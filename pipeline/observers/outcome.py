"""What observers say of how a run ended."""

from typing import Any, Final

import orjson

from pipeline.batch.observers import Ended
from pipeline.batch.summary import Summary, describe_summary
from pipeline.errors import one_line

SUCCESSES: Final = frozenset({0, 3, 8, 10})
"""Exit codes of a night that did what it could: all done, some pages failed, the month's calls are used up, a planned
stop. Pings and the printed units take them for a success."""


def describe_end(ended: Ended) -> str:
    """Return how a run ended in one line, with its exit code."""
    text = describe_summary(ended) if isinstance(ended, Summary) else str(ended)
    return f"exit {ended.exit_code}: {one_line(text)}"


def end_fields(ended: Ended, run_id: str) -> Any:  # noqa: ANN401 - orjson takes both
    """Return what `--json` prints at the end of a run."""
    if isinstance(ended, Summary):
        return ended
    return {"run_id": run_id, "exit_code": ended.exit_code, "reason": one_line(str(ended))}


def encode_end(ended: Ended, run_id: str) -> bytes:
    """Return the same as one line of JSON."""
    return orjson.dumps(end_fields(ended, run_id), option=orjson.OPT_NON_STR_KEYS) + b"\n"
