"""Reads ledgers in tests."""

from pathlib import Path

from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.sqlite.schema import read_attempts


def read_attempt_states(path: Path, workspace_id: str) -> dict[str, AttemptState]:
    """Return the state of each attempt of a workspace that has a row, by its id."""
    return {attempt.id: attempt.state for attempt in read_attempts(path, workspace_id)}
