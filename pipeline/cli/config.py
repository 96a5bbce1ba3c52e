"""`pagemill config`: show the configuration in force, check it, or print an example file."""

import logging
import os
from pathlib import Path

from pipeline.cli.console import print_text
from pipeline.cli.help import Group
from pipeline.cli.help import command as as_command
from pipeline.cli.options import check_flag_variables, config_option, load
from pipeline.config import ApiConfig, Config
from pipeline.config.database_url import is_database_url
from pipeline.config.render import example_file, values_in_force
from pipeline.errors import UsageError
from pipeline.ledger.places import ledger_directory
from pipeline.ledger.postgres.database import load_asyncpg
from pipeline.remote.endpoint import check_base_url, read_key
from pipeline.server.serve import read_serve_key
from pipeline.storage.filesystems import find_network_filesystem

logger = logging.getLogger("pagemill")


def load_checked(config_file: Path | None) -> Config:
    """Return the configuration in force after checking all of its sources, also those that another one overrides.

    Raises:
        UsageError: a file, variable or key is wrong, or the directory of the ledgers cannot be used.
    """
    config = load(config_file, {})
    check_flag_variables(os.environ)
    read_serve_key(dict(os.environ))
    if config.api.url is not None:
        check_base_url(config.api.url)
    keys = [
        read_key(ApiConfig(), os.environ),
        read_key(ApiConfig(key_file=config.api.key_file), {}),
        read_key(ApiConfig(key_command=config.api.key_command), {}),
    ]
    if config.budget.ledger is not None and is_database_url(config.budget.ledger):
        load_asyncpg()
    elif any(keys) or config.api.url is not None or config.budget.ledger is not None:
        _check_ledgers(ledger_directory(config))
    return config


def _check_ledgers(directory: Path) -> None:
    """Return when ledgers can be kept in a directory, which need not exist.

    Raises:
        UsageError: it, or the nearest directory above it that exists, cannot be written, or is on another machine.
    """
    try:
        network = find_network_filesystem(directory)
        existing = next(path for path in (directory, *directory.parents) if path.exists())
    except OSError as exc:
        raise UsageError(f"ledger {directory}: {exc.strerror}") from exc
    if not existing.is_dir() or not os.access(
        existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
    ):
        raise UsageError(f"ledger {directory}: {existing} cannot be written")
    if network is not None:
        raise UsageError(f"ledger {directory}: on a network filesystem ({network}), where locks cannot be trusted")


@as_command(
    "show",
    config_option(),
    help="Print the configuration in force as TOML, after checking every source of it, the key's included.",
    examples=("pagemill config show", "PAGEMILL_TIER=pro pagemill config show"),
    exit_codes=(0, 1, 2),
)
def show(config_file: Path | None) -> None:
    """Run `pagemill config show`."""
    print_text(values_in_force(load_checked(config_file)))


@as_command(
    "check",
    config_option(),
    help="Check every source of the configuration: files, environment, the key's file and command, the ledgers' "
    "directory.",
    examples=("pagemill config check -c nightly.toml",),
    exit_codes=(0, 2),
)
def check(config_file: Path | None) -> None:
    """Run `pagemill config check`."""
    load_checked(config_file)
    logger.info("the configuration is valid")


@as_command(
    "init",
    help="Print an example file with every setting, its default and its meaning.",
    examples=("pagemill config init > pagemill.toml",),
    exit_codes=(0, 1),
)
def init() -> None:
    """Run `pagemill config init`."""
    print_text(example_file())


command = Group(
    "config",
    help="Show or check the configuration, or print an example file.",
    commands=[show, check, init],
)
