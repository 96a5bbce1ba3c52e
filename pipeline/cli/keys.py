"""The commands about the server's keys: add, list, revoke."""

import dataclasses
import logging
from contextlib import closing
from datetime import UTC, datetime

from pipeline.billing import Calendar, billing_month
from pipeline.cli.inspect import print_json, print_text
from pipeline.config import ServeConfig, Tier
from pipeline.errors import UsageError
from pipeline.records import rfc3339
from pipeline.server.access.keys import KEY_PREFIX, KeyStore, keys_file

logger = logging.getLogger("pagemill")

NAME_MAX_LENGTH = 100


def add_key(config: ServeConfig, *, tier: Tier, quota: int | None, name: str) -> None:
    """Make a key; its secret is all that stdout gets.

    Raises:
        UsageError: the name is no short line of text.
        KeyStoreError: it cannot be stored.
    """
    if not name.isprintable() or len(name) > NAME_MAX_LENGTH:
        raise UsageError(f"--name: at most {NAME_MAX_LENGTH} characters on one line")
    with closing(KeyStore(keys_file(config))) as store:
        secret, key = store.add(name=name, tier=tier, quota=quota, now=_now())
    logger.info("key %s: %s calls a month; it is shown this once", key.id, "any" if key.limit is None else key.limit)
    print_text(secret + "\n")


def list_keys(config: ServeConfig, *, as_json: bool) -> None:
    """Print the keys by their ids, with this month's calls.

    Raises:
        KeyStoreError: the store cannot be read.
    """
    path = keys_file(config)
    rows = []
    if path.exists():
        month = billing_month(datetime.now(UTC), Calendar())
        with closing(KeyStore(path)) as store:
            rows = [(key, store.used(key.id, month)) for key in store.all_keys()]
    if as_json:
        print_json([{**dataclasses.asdict(key), "limit": key.limit, "used": used} for key, used in rows])
        return
    print_text("id        tier   used this month      of  state    name\n")
    for key, used in rows:
        limit, state = "any" if key.limit is None else str(key.limit), "revoked" if key.revoked else "good"
        print_text(f"{key.id:<8}  {key.tier:<5}  {used:>15}  {limit:>6}  {state:<7}  {key.name}\n")


def revoke_key(config: ServeConfig, key_id: str) -> None:
    """Refuse a key from now on, by running servers too.

    Raises:
        UsageError: there is no such key.
        KeyStoreError: that cannot be stored.
    """
    if key_id.startswith(KEY_PREFIX):  # whole or torn, it stays out of the message
        raise UsageError("that is a key itself; `pagemill serve keys list` shows its id")
    path = keys_file(config)
    if path.exists():
        with closing(KeyStore(path)) as store:
            if store.revoke(key_id, _now()):
                logger.info("key %s is revoked", key_id)
                return
    raise UsageError(f"no key has the id '{key_id}' (`pagemill serve keys list` shows them)")


def _now() -> str:
    return rfc3339(datetime.now(UTC))
