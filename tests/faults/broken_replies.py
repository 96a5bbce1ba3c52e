"""All broken replies, as one tuple."""

from itertools import chain
from typing import Final

from tests.faults.broken_content import bodies, encodings, sizes, statuses
from tests.faults.broken_framing import (
    early_answers,
    malformed_http,
    odd_headers,
    truncated_replies,
    two_replies,
    wrong_lengths,
)

BREAKAGES: Final = tuple(
    chain(
        truncated_replies(),
        wrong_lengths(),
        malformed_http(),
        odd_headers(),
        bodies(),
        encodings(),
        sizes(),
        statuses(),
        early_answers(),
        two_replies(),
    )
)
assert len({breakage.name for breakage in BREAKAGES}) == len(BREAKAGES)
