"""What commands share: their flags, and the configuration that flags, environment and files make together."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config import Config

_F = TypeVar("_F", bound=Callable[..., object])

_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "jobs": ("run", "jobs"),
    "rate": ("run", "rate_per_s"),
    "max_calls": ("run", "max_calls"),
    "max_duration": ("run", "max_duration"),
    "max_failures": ("run", "max_failures"),
    "limit": ("run", "limit"),
    "retries": ("run", "retries"),
    "at_most_once": ("run", "at_most_once"),
    "include": ("input", "include"),
    "exclude": ("input", "exclude"),
    "changed_by": ("input", "changed_by"),
    "tier": ("budget", "tier"),
    "quota": ("budget", "quota"),
    "ledger": ("budget", "ledger"),
    "dedup": ("prepare", "dedup"),
    "timeout": ("api", "timeout_s"),
    "api_url": ("api", "url"),
    "api_key_file": ("api", "key_file"),
    "log_format": ("log", "format"),
    "host": ("serve", "host"),
    "port": ("serve", "port"),
    "workers": ("serve", "workers"),
    "engine": ("serve", "engine"),
    "backend": ("serve", "backend"),
    "allow_urls": ("serve", "allow_urls"),
}
"""Which configuration key a flag sets."""

_OTHER_VARIABLES: Final = frozenset({"PAGEMILL_API_KEY", "PAGEMILL_OPERATOR_KEY", "PAGEMILL_STATE_DIR"})


def flag(*names: str, **options: Any) -> Callable[[_F], _F]:
    """Return a click option that `PAGEMILL_<FLAG>` sets too; None means that nobody said anything."""
    environment = "PAGEMILL_" + names[-1].split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=environment, default=options.pop("default", None), **options)


config_flag = click.option(
    "-c",
    "--config",
    "config_file",
    envvar="PAGEMILL_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file.",
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print an object on stdout.")


def budget_flags(command: _F) -> _F:
    """Give a command the flags that say which API is called, and how often."""
    for decorate in (
        flag("--ledger", metavar="DIR", help="Where ledgers lie, instead of the user's state directory."),
        flag("--quota", type=click.IntRange(min=0), help="Calls a month, instead of a tier."),
        flag("--tier", type=click.Choice(["free", "basic", "pro", "ultra"]), help="30, 1,000, 5,000 or any calls."),
        flag("--api-key-file", type=click.Path(path_type=Path), help="File that holds the API key."),
        flag(
            "--api-url", metavar="URL", help="Base URL of the API; without a key and without it, the embedded engine."
        ),
    ):
        command = decorate(command)
    return command


def load(
    config_file: Path | None, options: Mapping[str, Any], *, level: str | None = None, alone: bool = False
) -> "Config":
    """Return the configuration with the flags on top, and set up logging by it.

    Args:
        config_file: What `--config` says.
        options: The command's parameters by name; those that are settings count.
        level: The log's level, instead of the configured one.
        alone: Flags are all there is: no file, no environment.

    Raises:
        UsageError: a setting is wrong; the message says where.
    """
    import platformdirs  # noqa: PLC0415 - keeps --help quick

    from pipeline.cli.console import set_up_logging  # noqa: PLC0415 - keeps --help quick
    from pipeline.config import load_config  # noqa: PLC0415 - keeps --help quick

    flags: dict[tuple[str, str], Any] = {
        _KEYS[name]: value for name, value in options.items() if name in _KEYS and value not in {None, ()}
    }
    for name in ("at_most_once", "allow_urls"):
        if not options.get(name):
            flags.pop(_KEYS[name], None)  # a flag that is not given says nothing
    if level is not None:
        flags["log", "level"] = level
    if alone:
        loaded = load_config(flags=flags, read_files=False)
    else:
        _check_environment()
        user_dir = platformdirs.user_config_path("pagemill")
        loaded = load_config(config_file, flags=flags, environ=os.environ, user_dir=user_dir)
    set_up_logging(loaded.log)
    return loaded


def _check_environment() -> None:
    """Raise when a variable looks like a setting and is none: a limit that is misspelt would not limit."""
    import difflib  # noqa: PLC0415 - keeps --help quick

    from pipeline.config import setting_names  # noqa: PLC0415 - keeps --help quick

    known = {f"PAGEMILL_{section}_{key}".upper() for section, key in setting_names()} | _OTHER_VARIABLES
    for command in _walk(click.get_current_context().find_root().command):
        known.update(str(option.envvar) for option in command.params if option.envvar)
    for name in sorted(os.environ):
        if name.startswith("PAGEMILL_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"environment: unknown variable {name}{hint}")


def _walk(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for member in command.commands.values():
            yield from _walk(member)
