"""How well a page was read, as the engine of the service judges it: the values in replies, records and the index.

The engine computes them (`engine.quality`). A service that does not judge its pages sends none.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]

_DIGITS: Final = 4
"""Decimals of each figure: as many as mean something, and few enough that no program writes them with an exponent."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """The recogniser's confidence in the lines of a page."""

    mean: Annotated[Share, Meta(description="Mean over the characters.")]
    minimum: Annotated[Share, Meta(description="That of the least certain line.")]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a page was read, as far as the engine can tell."""

    score: Annotated[
        Share,
        Meta(
            description="1 for a page without a sign of doubt. Lower scores go with more errors; it is no error rate."
        ),
    ]
    threshold: Annotated[Share, Meta(description="Below this score the page is in doubt: look at it.")]
    confidence: Annotated[Confidence | None, Meta(description="null for a page without text.")]
    unread_ink: Annotated[
        Share,
        Meta(description="Share of the page's strokes outside the lines: pictures, rules, and text that was not read."),
    ]
    unread_type: Annotated[
        Share,
        Meta(description="Share of the page's strokes outside the lines that look like type: text that was lost."),
    ]
    precision: Annotated[
        str,
        Meta(
            description="Number format that the models computed in, such as f32 or bf16.",
            pattern="^[a-z0-9]{1,16}$",
            examples=["f32"],
        ),
    ]

    @property
    def is_in_doubt(self) -> bool:
        """Whether a person should look at the page."""
        return self.score < self.threshold


def parse_quality(value: object) -> Quality | None:
    """Return the quality in a service's reply; None when it is none: the text beside it counts all the same.

    Args:
        value: Any JSON value.
    """
    if value is None:
        return None
    try:
        return round_quality(msgspec.convert(value, Quality))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def round_quality(quality: Quality) -> Quality:
    """Return the quality with its figures rounded, as replies and records have them."""
    return msgspec.convert(_round(msgspec.to_builtins(quality)), Quality)


def _round(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    match value:
        case dict():
            return {name: _round(inner) for name, inner in value.items()}
        case float() | int():
            return abs(round(float(value), _DIGITS))  # abs: -0.0 becomes 0.0
        case _:
            return value
