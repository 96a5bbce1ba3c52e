"""`pagemill config`: show the configuration in force, check it, or print an example file."""

from pathlib import Path

import click

from pipeline.cli.console import print_text
from pipeline.cli.help import Group
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, load
from pipeline.config.render import example_file, values_in_force


@as_command(
    "show",
    config_option(),
    help="Print the configuration in force as TOML, after checking every source of it.",
    examples=("pagemill config show", "PAGEMILL_TIER=pro pagemill config show"),
    exit_codes=(0, 2),
)
def show(config_file: Path | None) -> None:
    """Run `pagemill config show`."""
    print_text(values_in_force(load(config_file, {})))


@as_command(
    "check",
    config_option(),
    help="Check every source of the configuration: files, environment and defaults.",
    examples=("pagemill config check -c nightly.toml",),
    exit_codes=(0, 2),
)
def check(config_file: Path | None) -> None:
    """Run `pagemill config check`."""
    load(config_file, {})
    click.echo("the configuration is valid", err=True)


@as_command(
    "init",
    help="Print an example file with every setting, its default and its meaning.",
    examples=("pagemill config init > pagemill.toml",),
    exit_codes=(0,),
)
def init() -> None:
    """Run `pagemill config init`."""
    print_text(example_file())


command = Group(
    "config",
    help="Show or check the configuration, or print an example file.",
    commands=[show, check, init],
)
