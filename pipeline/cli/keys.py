"""`pagemill serve keys`: the keys that callers of the server show."""

import dataclasses
import logging
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from pipeline.billing import Calendar, billing_month
from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import Group, GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load
from pipeline.config import TIER_CALLS, ServeConfig, Tier
from pipeline.errors import UsageError
from pipeline.records import rfc3339
from pipeline.server.access.keys import KEY_PREFIX, NO_VALID_KEY, KeyStore, keys_file, way_back

NAME_MAX_LENGTH: Final = 100
QUOTA_MAX: Final = 10**12

logger = logging.getLogger("pagemill")


def add_key(config: ServeConfig, *, tier: Tier, quota: int | None, name: str) -> None:
    """Make a key and print its secret, and nothing else, on stdout.

    Raises:
        UsageError: the name is not one short line.
        KeyStoreError: the key cannot be stored.
    """
    if not name.isprintable() or len(name) > NAME_MAX_LENGTH:
        raise UsageError(f"--name: at most {NAME_MAX_LENGTH} characters on one line")
    path = keys_file(config)
    with closing(KeyStore(path)) as store:
        is_first = store.is_empty()
        secret, key = store.add(name=name, tier=tier, quota=quota, now=_now())
    limit = "unlimited" if key.limit is None else key.limit
    logger.info("key %s: %s calls per month; it is shown only this once", key.id, limit)
    if is_first:
        logger.warning(
            "this is the first key: from now on a server with these keys refuses every request without a key, also "
            "from this machine and from its page; %s",
            way_back(path),
        )
    print_text(secret + "\n")


def list_keys(config: ServeConfig, *, as_json: bool) -> None:
    """Print the ids of the keys with this month's calls.

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
    """Revoke a key; running servers refuse it from then on.

    Raises:
        UsageError: there is no such key.
        KeyStoreError: the store cannot be written.
    """
    if key_id.startswith(KEY_PREFIX):  # a secret, whole or torn, must not be repeated in a message
        raise UsageError("that is a key itself; `pagemill serve keys list` shows its id")
    path = keys_file(config)
    if path.exists():
        with closing(KeyStore(path)) as store:
            if store.revoke(key_id, _now()):
                logger.info("key %s is revoked", key_id)
                if not store.has_valid_key():
                    logger.warning("%s; %s", NO_VALID_KEY, way_back(path))
                return
    raise UsageError(f"no key has the id '{key_id}' (`pagemill serve keys list` shows them)")


def _now() -> str:
    return rfc3339(datetime.now(UTC))


@as_command(
    "add",
    GroupedOption(
        ["--tier"],
        type=click.Choice(list(TIER_CALLS)),
        default="free",
        help="30, 1,000, 5,000 or unlimited calls per month.  [default: free]",
    ),
    GroupedOption(
        ["--quota"], type=click.IntRange(0, QUOTA_MAX), metavar="N", help="Calls per month, instead of the tier's."
    ),
    GroupedOption(["--name"], default="", metavar="TEXT", help="Name of the key's holder."),
    config_option(),
    help="Make a key and print it. It cannot be shown again.",
    examples=('pagemill serve keys add --tier basic --name "reading room"',),
    exit_codes=(0, 1, 2),
)
@click.pass_obj
def add(group_file: Path | None, config_file: Path | None, *, tier: Tier, quota: int | None, name: str) -> None:
    """Run `pagemill serve keys add`."""
    add_key(load(config_file or group_file, {}).serve, tier=tier, quota=quota, name=name)


@as_command(
    "list",
    config_option(),
    json_option(),
    help="List the ids of the keys with this month's calls; never the keys.",
    examples=("pagemill serve keys list",),
    exit_codes=(0, 1, 2),
)
@click.pass_obj
def list_(group_file: Path | None, config_file: Path | None, *, as_json: bool) -> None:
    """Run `pagemill serve keys list`."""
    list_keys(load(config_file or group_file, {}).serve, as_json=as_json)


@as_command(
    "revoke",
    click.Argument(["key_id"], metavar="ID"),
    config_option(),
    help="Revoke a key by its id; running servers refuse it from then on.",
    examples=("pagemill serve keys revoke 1a2b3c4d",),
    exit_codes=(0, 1, 2),
)
@click.pass_obj
def revoke(group_file: Path | None, config_file: Path | None, *, key_id: str) -> None:
    """Run `pagemill serve keys revoke`."""
    revoke_key(load(config_file or group_file, {}).serve, key_id)


command = Group(
    "keys",
    help="Add, list and revoke the keys of callers; a running server follows at once.",
    commands=[add, list_, revoke],
)
