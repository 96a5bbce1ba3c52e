"""Signed-in browsers: a random token in a cookie, its hash in memory, and who may use the cookie.

A cookie goes with every request that a browser makes, whoever's page asked for it. Three things keep other sites'
pages out: SameSite=Strict on the cookie; what the browser says of the page that asks (Sec-Fetch-Site, else Origin);
and where it says neither, the JSON content type, which a page cannot send elsewhere without asking first. The
second is needed because a cookie's "site" ignores ports: any other service on localhost is the same site.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

IDLE_S: Final = 8 * 3600.0
AGE_S: Final = 7 * 24 * 3600.0
SESSIONS_AT_MOST: Final = 4096
SESSIONS_A_KEY: Final = 16


@dataclass(frozen=True, slots=True)
class _Session:
    key_id: str
    opened_s: float
    used_s: float


class Sessions:
    """Who is signed in. A restart ends all sessions.

    Args:
        idle_s: A session that was not used for so long is over.
        age_s: So is one that was opened so long ago.
        at_most: Beyond so many, the one that was not used for longest ends.
        per_key: The same for the sessions of one key, so that no key drives out the others' sessions.
    """

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        age_s: float = AGE_S,
        at_most: int = SESSIONS_AT_MOST,
        per_key: int = SESSIONS_A_KEY,
    ) -> None:
        self._idle_s = idle_s
        self._age_s = age_s
        self._at_most = at_most
        self._per_key = per_key
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        """By the token's hash; what was used last stands last."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"<Sessions {len(self)} of {self._at_most}>"

    def open(self, key_id: str, now_s: float) -> str:
        """Begin a session and return its token.

        Args:
            key_id: Whose it is.
            now_s: A clock that never goes back.
        """
        own = [digest for digest, session in self._sessions.items() if session.key_id == key_id]
        for digest in own[: max(0, len(own) - self._per_key + 1)]:
            del self._sessions[digest]
        while len(self._sessions) >= self._at_most:
            self._sessions.popitem(last=False)
        token = secrets.token_urlsafe(32)
        self._sessions[_hash(token)] = _Session(key_id, now_s, now_s)
        return token

    def find(self, token: str, now_s: float) -> str | None:
        """Return whose session it is; None when there is none any more."""
        digest = _hash(token)
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
        """End a session, if it is one."""
        self._sessions.pop(_hash(token), None)


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that a page of another origin makes this request.

    Args:
        headers: Of the request, by whatever case (`CIMultiDict`).
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("Origin")
    return origin is not None and _netloc(origin) != headers.get("Host", "").lower()


def may_use_cookie(method: str, content_type: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request's cookie says what its user wants: it changes nothing, or our own page sent it."""
    if method in {"GET", "HEAD"}:
        return True
    if "Sec-Fetch-Site" in headers or "Origin" in headers:
        return not is_foreign(headers)
    return content_type == "application/json"


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
