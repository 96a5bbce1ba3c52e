"""How many calls the ledger, the tiers and the bounds of a run allow."""

from contextlib import closing
from datetime import UTC, datetime

from pipeline.batch.planning.forecast import Forecast, forecast
from pipeline.batch.planning.survey import Counts
from pipeline.billing import Calendar, NightShare, Usage, share_of_night
from pipeline.config import Config
from pipeline.config.settings import TIER_CALLS
from pipeline.ledger.places import find_place, place_named
from pipeline.service import Service
from pipeline.workspace.run_file import RunFile, last_metered_run


def read_usage(config: Config, service: Service, last: RunFile | None) -> tuple[Usage | None, NightShare | None]:
    """Return this month of the ledger of the key, or without a key of the last run's, and tonight's share of it.

    A ledger that is missing is not made.
    """
    place = find_place(config, service)
    if place is None and (metered := last_metered_run(last)) is not None:
        place = place_named(metered.ledger, config.budget.ledger)
    budget = config.budget
    calendar = Calendar(budget.timezone, budget.reset_day)
    if place is None or not place.exists():
        now = datetime.now(UTC).astimezone()
        return None, None if budget.limit is None else share_of_night(budget.limit, 0, None, now, calendar)
    with closing(place.open(calendar, budget.limit)) as ledger:
        return ledger.usage(), ledger.night_share()


def forecast_tiers(calls: int, usage: Usage | None, config: Config, now: datetime) -> dict[str, Forecast]:
    """Return by tier, and by quota, when this number of calls is made."""
    budget, used = config.budget, 0 if usage is None else usage.used
    plans: dict[str, int | None] = {str(name): plan for name, plan in TIER_CALLS.items()}
    if budget.quota is not None:
        plans["quota"] = budget.quota
    calendar = Calendar(budget.timezone, budget.reset_day)
    limits = {name: None if plan is None else max(0, plan - budget.keep_for_others) for name, plan in plans.items()}
    return {
        name: forecast(
            calls, limit, used, now=now, calendar=calendar, per_night=config.run.max_calls, spread=config.run.spread
        )
        for name, limit in limits.items()
    }


def bound_run(counts: Counts, left: int | None, config: Config, share: NightShare | None) -> tuple[int, str | None]:
    """Return the calls of the next run, and the bound that ends it early."""
    bounds: list[tuple[int, str | None]] = [(counts.calls, None)]
    if left is not None:
        bounds.append((left, "the month's calls are used up (exit 8)"))
    if (max_calls := config.run.max_calls) is not None:
        bounds.append((max_calls, f"--max-calls {max_calls} is reached (exit 10)"))
    if config.run.spread and share is not None and not share.is_rest:  # the last share is the quota's to end
        bounds.append((share.calls, f"{share.describe_end(share.used)} (exit 10)"))
    if config.run.limit is not None and counts.is_limited:
        bounds.append((counts.limited_calls, f"--limit {config.run.limit} is reached (exit 10)"))
    return min(bounds, key=lambda bound: bound[0])
