"""URLs of a PostgreSQL database as a setting: recognised, and shown without their password."""

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_SCHEMES: Final = ("postgresql://", "postgres://")
_SECRETS: Final = frozenset({"password", "sslpassword"})


def is_database_url(text: str) -> bool:
    """Return whether a setting is the URL of a database, and not a directory."""
    return text.startswith(_SCHEMES)


def without_password(text: str) -> str:
    """Return the URL of a database without the passwords in it; any other text unchanged."""
    if not is_database_url(text):
        return text
    try:
        url = urlsplit(text)
        query = urlencode([(name, value) for name, value in parse_qsl(url.query) if name not in _SECRETS], safe="/:,")
    except ValueError:
        return "postgresql://(not a URL)"
    user, at, hosts = url.netloc.rpartition("@")
    return urlunsplit(("postgresql", f"{user.partition(':')[0]}{at}{hosts}", url.path, query, ""))
