"""Whether a run counts its calls where the last one did: two ledgers of one key would each allow a whole quota."""

import logging
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.ledger.base import LedgerMark, LedgerPlace
from pipeline.ledger.places import place_named
from pipeline.workspace.run_file import MeteredRun, RunFile, key_fingerprint, last_metered_run

logger = logging.getLogger("pagemill")

_CONFIRM = "confirm once with --accept-ledger"
_RECOUNT = "`pagemill quota --already-used N` sets the count"


def require_same_ledger(
    last: RunFile | None,
    ledger: LedgerPlace | None,
    service: str,
    *,
    workspace: Path,
    accept: bool,
    configured: str | None = None,
) -> None:
    """Return when a run may count its calls in a ledger; the ledger is only read.

    Args:
        last: The last run's run.json.
        ledger: This run's ledger; None for a run that keeps none.
        service: This run's service.
        workspace: The directory of the results.
        accept: True when the user has confirmed the ledger.
        configured: `[budget] ledger`.

    Raises:
        UsageError: the last run counted in another ledger, or with another key, or this is an older copy of it.
        LedgerError: the ledger cannot be read.
    """
    before = last_metered_run(last)
    if ledger is None or before is None or before.service != service:  # --switch-service has confirmed that
        return
    former = place_named(before.ledger, configured)
    is_elsewhere = former != ledger and former.exists() and not (ledger.exists() and former.is_same(ledger))
    problem = find_problem(before, ledger.name, ledger.mark(), is_elsewhere=is_elsewhere)
    if problem is None:
        return
    if not accept:
        raise UsageError(f"{workspace}: {problem}")
    logger.warning("%s: confirmed: %s", workspace, problem)


def find_problem(before: MeteredRun, ledger: str, mark: LedgerMark | None, *, is_elsewhere: bool) -> str | None:
    """Return how this run's ledger differs from the last run's, and what to do; None when it is the same.

    Args:
        before: Where the last run counted.
        ledger: Name of this run's ledger.
        mark: Its mark; None when it does not exist.
        is_elsewhere: True when the last run's ledger exists, and at another place.
    """
    key = key_fingerprint(ledger)
    places = f"the last run counted its calls in {before.ledger} (key {before.key}), this one would in {ledger}"
    if key != before.key:
        return f"{places} (key {key}): another API key; set it back, or {_CONFIRM}"
    if is_elsewhere:
        return f"{places}: another ledger, which does not know those calls; set --ledger or HOME back, or {_CONFIRM}"
    if mark is None:
        gone = f"ledger {before.ledger} of the last run is gone, and with it the count of the calls"
        new = "" if before.ledger == ledger else f"; this run would begin {ledger}"
        return f"{gone}{new}; restore it, or {_CONFIRM}, and {_RECOUNT}"
    return _find_other_file(before, ledger, mark, places)


def _find_other_file(before: MeteredRun, ledger: str, mark: LedgerMark, places: str) -> str | None:
    """Return how a file that may be the last run's ledger differs from it."""
    if before.ledger_id is None:  # of a release that noted no id
        return None if before.ledger == ledger else f"{places}: another ledger; set it back, or {_CONFIRM}"
    if mark.id != before.ledger_id:
        return (
            f"ledger {ledger} is not the one of the last run, which was {before.ledger}: its id is {mark.id}, not"
            f" {before.ledger_id}; restore that one, or {_CONFIRM}, and {_RECOUNT}"
        )
    if mark.reserved < before.reserved:
        return (
            f"ledger {ledger} knows of {mark.reserved} calls, and {before.ledger} knew of {before.reserved} after the"
            f" last run: it is an older copy; restore the newest one, or {_CONFIRM}, and {_RECOUNT}"
        )
    return None
