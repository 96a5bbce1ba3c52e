"""Sessions of the page: a random token in a cookie, its hash in memory, and the check for cross-site requests.

A browser sends the cookie with every request to this server, whichever page makes the request. Three things keep other
sites' pages out: SameSite=Strict on the cookie; the browser's own headers about the requesting page (Sec-Fetch-Site,
else Origin); and, where it sends neither, the JSON content type, which a page cannot send to another origin without a
CORS preflight. The second is needed because a cookie's "site" ignores ports: any other service on localhost is the same
site.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from pipeline.server.access.keys import hash_secret

IDLE_S: Final = 8 * 3600.0
AGE_S: Final = 7 * 24 * 3600.0
MAX_SESSIONS: Final = 4096
MAX_SESSIONS_PER_KEY: Final = 16


@dataclass(frozen=True, slots=True)
class _Session:
    key_id: str
    opened_s: float
    used_s: float


class Sessions:
    """The open sessions, in memory: a restart ends all of them.

    Args:
        idle_s: A session ends when it has not been used for this long.
        age_s: A session ends this long after it was opened.
        max_sessions: Limit for all sessions; opening a further one ends the session unused for longest.
        max_per_key: Limit for the sessions of one key, so that no key ends the sessions of others.
    """

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        age_s: float = AGE_S,
        max_sessions: int = MAX_SESSIONS,
        max_per_key: int = MAX_SESSIONS_PER_KEY,
    ) -> None:
        self._idle_s = idle_s
        self._age_s = age_s
        self._max_sessions = max_sessions
        self._max_per_key = max_per_key
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        """By the token's hash, in the order of last use."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"<Sessions {len(self)} of {self._max_sessions}>"

    def open(self, key_id: str, now_s: float) -> str:
        """Open a session and return its token.

        Args:
            key_id: The id of the key that opens the session.
            now_s: A monotonic clock.
        """
        own = [digest for digest, session in self._sessions.items() if session.key_id == key_id]
        for digest in own[: max(0, len(own) - self._max_per_key + 1)]:
            del self._sessions[digest]
        while len(self._sessions) >= self._max_sessions:
            self._sessions.popitem(last=False)
        token = secrets.token_urlsafe(32)
        self._sessions[hash_secret(token)] = _Session(key_id, now_s, now_s)
        return token

    def find(self, token: str, now_s: float) -> str | None:
        """Return the key id of the session with this token and mark it as used; None without an open session."""
        digest = hash_secret(token)
        session = self._sessions.get(digest)
        if session is None:
            return None
        if now_s - session.used_s >= self._idle_s or now_s - session.opened_s >= self._age_s:
            del self._sessions[digest]
            return None
        self._sessions[digest] = replace(session, used_s=now_s)
        self._sessions.move_to_end(digest)
        return session.key_id

    def close(self, token: str) -> None:
        """End the session with this token, if there is one."""
        self._sessions.pop(hash_secret(token), None)


def is_cross_origin(headers: Mapping[str, str]) -> bool:
    """Return whether the browser reports that a page of another origin makes this request.

    Args:
        headers: The request's headers; names in any case (`CIMultiDict`).
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("Origin")
    return origin is not None and _netloc(origin) != headers.get("Host", "").lower()


def may_use_cookie(method: str, content_type: str, headers: Mapping[str, str]) -> bool:
    """Return whether the cookie may authenticate a request: it changes nothing, or this server's page sends it."""
    if method in {"GET", "HEAD"}:
        return True
    if "Sec-Fetch-Site" in headers or "Origin" in headers:
        return not is_cross_origin(headers)
    return content_type == "application/json"


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
