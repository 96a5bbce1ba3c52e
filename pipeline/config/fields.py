"""What the fields of settings are made of: bounded numbers, descriptions, sections."""

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


def about(
    description: str, *, flag: str | None = None, metavar: str | None = None, example: object = None, unset: str = ""
) -> Meta:
    """Describe a setting.

    Args:
        description: One or two sentences for help and documentation.
        flag: The flag that sets it, as click spells it: "-j/--jobs", or "--blank/--no-blank" for a switch.
        metavar: What the flag's value is called in help; by default its type.
        example: For a setting without a default: the value that the example file shows.
        unset: For a setting without a default: what happens when it is not set.
    """
    return Meta(description=description, extra={"flag": flag, "metavar": metavar, "example": example, "unset": unset})


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""
