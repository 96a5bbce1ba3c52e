"""The object `prep` of a record: what was sent."""

from dataclasses import fields
from typing import Any, Final

from pipeline.records import Prep

_NAMES: Final = tuple(field.name for field in fields(Prep) if field.name != "corrections")


def prep_fields(prep: Prep | None) -> Prep | dict[str, Any] | None:
    """Return what a record has as `prep`; a page that was not corrected has no field for corrections."""
    if prep is None or prep.corrections is not None:
        return prep
    return {name: getattr(prep, name) for name in _NAMES}
