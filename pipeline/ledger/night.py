"""The night in which a run began, for `--spread`: all runs that share the key make its share together."""

from dataclasses import dataclass

from pipeline.billing import NightShare


@dataclass(frozen=True, slots=True)
class Night:
    """The night in which a run began.

    Attributes:
        share: Of the run.
        month: The month in which its calls count, or a later one.
        begin: When it began, RFC 3339.
        after: Number of the last row before it: the rows of a night are few, those of a month are not.
    """

    share: NightShare
    month: str
    begin: str
    after: int
