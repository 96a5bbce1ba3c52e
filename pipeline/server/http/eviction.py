"""Which connections are closed when the server has too many: pure.

A connection costs a file descriptor, of which a process has a fixed number. A new connection is therefore never turned
away for one that keeps the server waiting: the one that is worth least is closed instead. The rank of a connection says
how much it is worth; among equals, the group with the most connections gives one up, its oldest first.

A group is a key where one is known, else the peer's address. Many callers may share an address, behind a proxy or a
NAT, so an address has no limit of its own: a lone address may have all connections.

Precedent: Apache's mod_reqtimeout limits the time for headers, nginx reuses the connection idle for longest when
`worker_connections` are used up.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

GRACE_S: Final = 1.0
"""A request's headers may take this long before their connection counts as silent: several round trips."""

SLOW_S: Final = 5.0
"""A body, or a response, that made no progress for this long is slow."""

CROWD_SHARE: Final = 0.25
"""Part of all connections from which on the idle ones of a group are worth little, although its key is known."""

CROWD_MIN: Final = 32
"""A group with no more connections than this is no crowd: clients keep as many."""

BUSY_SHARE: Final = 0.5
"""Part of the maximum from which on headers have `BUSY_HEADERS_TIMEOUT_S`."""

BUSY_HEADERS_TIMEOUT_S: Final = 5.0


class Stage(Enum):
    """What a connection is waiting for."""

    HEADERS = "headers"
    """A request: nothing was received since the connection was opened, or the headers are incomplete."""

    REJECTED = "rejected"
    """The client, which has been refused: the rest of its body is discarded, or its next guess of a key is delayed."""

    IDLE = "idle"
    """The next request, none of which has arrived."""

    BODY = "body"
    """The body of a request."""

    RESPONSE = "response"
    """The client, which has not yet read its response."""

    PIPELINED = "pipelined"
    """The server, with further requests behind the current one: browsers and API clients wait for each response."""

    WORKING = "working"
    """The server."""


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """A connection, as far as the choice depends on it.

    Attributes:
        group: The name of the caller, if a request of this connection was authenticated; else the peer's address.
        is_known: Whether a request of this connection was authenticated.
        stage: What it waits for.
        since_s: When the stage began; for a body and a response, when the last progress was made.
    """

    group: str
    is_known: bool
    stage: Stage
    since_s: float


def choose_evicted(connections: Sequence[OpenConnection], now_s: float, count: int = 1) -> list[int]:
    """Return the indices of the connections to close so that as many new ones fit; fewer when the others are in use.

    Args:
        connections: All open connections.
        now_s: The clock of `since_s`.
        count: Number of connections to close. More than one only of those that are worth least: closing several at a
            time makes a flood of connections cheaper to bear.
    """
    groups = Counter(connection.group for connection in connections)
    crowded = {group for group, size in groups.items() if size > max(CROWD_MIN, len(connections) * CROWD_SHARE)}
    ranks = [_rank(connection, now_s, crowded) for connection in connections]
    least = min((rank for rank in ranks if rank is not None), default=None)
    if least is None:
        return []
    chosen = [index for index, rank in enumerate(ranks) if rank == least]
    sizes = Counter(connections[index].group for index in chosen)
    largest = max(sizes.values())
    chosen = [index for index in chosen if sizes[connections[index].group] == largest]
    chosen.sort(key=lambda index: connections[index].since_s)
    return chosen[: count if least == _WORTHLESS else 1]


def find_overdue(connections: Sequence[OpenConnection], now_s: float, max_connections: int) -> list[int]:
    """Return the indices of the connections whose headers take too long for a server with this many connections."""
    if len(connections) < BUSY_SHARE * max_connections:
        return []
    waiting = {Stage.HEADERS, Stage.REJECTED}
    return [
        index
        for index, connection in enumerate(connections)
        if connection.stage in waiting and now_s - connection.since_s > BUSY_HEADERS_TIMEOUT_S
    ]


_WORTHLESS: Final = 0


def _rank(connection: OpenConnection, now_s: float, crowded: set[str]) -> int | None:
    """Return what a connection is worth, 0 the least; None when it is not closed."""
    age_s = now_s - connection.since_s
    match connection.stage:
        case Stage.REJECTED:
            return _WORTHLESS
        case Stage.PIPELINED:
            return None if connection.is_known else _WORTHLESS
        case Stage.IDLE:
            return 4 if connection.is_known and connection.group not in crowded else 1
        case Stage.BODY | Stage.RESPONSE if connection.is_known:
            return 3 if age_s > SLOW_S else None
        case Stage.HEADERS | Stage.BODY | Stage.RESPONSE:
            return 2 if age_s < GRACE_S else _WORTHLESS
        case _:
            return None
