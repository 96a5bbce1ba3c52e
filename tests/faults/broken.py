"""The library of broken replies: every way that we know in which an answer can go wrong."""

from itertools import chain
from typing import Final

from tests.faults.broken_content import bodies, encodings, sizes, statuses
from tests.faults.broken_framing import cut, early, lengths, no_http, strange_headers, twice

BREAKAGES: Final = tuple(
    chain(cut(), lengths(), no_http(), strange_headers(), bodies(), encodings(), sizes(), statuses(), early(), twice())
)
assert len({breakage.name for breakage in BREAKAGES}) == len(BREAKAGES)
