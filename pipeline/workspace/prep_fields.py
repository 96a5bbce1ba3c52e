"""The object `prep` of a line: what was sent."""

from dataclasses import fields
from typing import Any, Final

from pipeline.records import Prep

_NAMES: Final = tuple(field.name for field in fields(Prep))
_OPTIONAL: Final = frozenset({"tiles", "corrections"})


def prep_fields(prep: Prep | None) -> dict[str, Any] | None:
    """Return what a line has as `prep`: no field for tiles or corrections that there are none of."""
    if prep is None:
        return None
    values = {name: getattr(prep, name) for name in _NAMES}
    return {name: value for name, value in values.items() if value is not None or name not in _OPTIONAL}
