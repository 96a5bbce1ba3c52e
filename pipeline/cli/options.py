"""Options that commands share, and the configuration that flags, environment and files make together."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from pipeline.cli.console import set_up_logging
from pipeline.cli.help import GroupedOption
from pipeline.config import Config, load_config, user_config_dir
from pipeline.config.load import check_variables
from pipeline.config.reflection import Setting, all_settings
from pipeline.config.render import flag_help
from pipeline.errors import UsageError

_logger = logging.getLogger("pagemill")

_FLAG_VARIABLES: Final = frozenset(
    {
        "PAGEMILL_ACCEPT_LEDGER",
        "PAGEMILL_LOCAL",
        "PAGEMILL_NO_PROGRESS",
        "PAGEMILL_PAY_AGAIN",
        "PAGEMILL_SWITCH_SERVICE",
    }
)
"""Variables of flags that belong to one run."""

_OTHER_VARIABLES: Final = _FLAG_VARIABLES | {
    "PAGEMILL_API_KEY",
    "PAGEMILL_CONFIG",
    "PAGEMILL_OPERATOR_KEY",
    "PAGEMILL_STATE_DIR",
}
"""Variables that are no settings: secrets, places, and flags."""


def setting(name: str, *, heading: str = "Options") -> GroupedOption:
    """Return the option that sets a setting, such as "run.jobs"; not given, it leaves the setting alone."""
    found = all_settings()[name]
    assert found.flag is not None, name
    is_switch = "/--no-" in found.flag
    flags = [found.flag] if is_switch else found.flag.split("/")
    return GroupedOption(
        [f"{found.section}__{found.key}", *flags],
        default=None,
        help=flag_help(found),
        heading=heading,
        metavar=found.metavar,
        **_click_type(found),
    )


def flag(name: str, description: str, *, heading: str = "Options") -> GroupedOption:
    """Return a switch of one run, which its `PAGEMILL_<FLAG>` variable sets too."""
    variable = "PAGEMILL_" + name.removeprefix("--").replace("-", "_").upper()
    assert variable in _FLAG_VARIABLES, variable
    return GroupedOption([name], is_flag=True, envvar=variable, help=f"{description}  [{variable}]", heading=heading)


def config_option(heading: str = "Options") -> GroupedOption:
    """Return the option that names a configuration file."""
    return GroupedOption(
        ["config_file", "-c", "--config"],
        envvar="PAGEMILL_CONFIG",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Configuration file.  [default: ./pagemill.toml where it exists; PAGEMILL_CONFIG]",
        heading=heading,
    )


def json_option(heading: str = "Options") -> GroupedOption:
    """Return the option for output that programs read."""
    return GroupedOption(["as_json", "--json"], is_flag=True, help="Print JSON on stdout.", heading=heading)


def input_options(heading: str) -> Iterable[GroupedOption]:
    """Return the options that say which files of the INPUTs hold pages, and which of their pages need a call."""
    names = (
        "input.include",
        "input.exclude",
        "input.exclude_kinds",
        "input.column",
        "input.pages",
        "input.follow_symlinks",
        "input.changed_by",
        "input.changed_since",
        "input.order",
        "input.sample",
        "input.shard",
        "input.shard_job",
        "prepare.text_layer",
        "prepare.dedup",
        "prepare.skip_blank",
        "prepare.skip_smaller_px",
        "prepare.auto_rotate",
        "prepare.deskew",
        "prepare.contrast",
    )
    separator = GroupedOption(
        ["null_separated", "-0"], is_flag=True, help="Paths on stdin end with NUL.", heading=heading
    )
    return [*(setting(name, heading=heading) for name in names), separator]


def service_options(heading: str = "Service and quota") -> Iterable[GroupedOption]:
    """Return the options that say which service is called, and how often."""
    names = ("api.url", "api.key_file", "budget.tier", "budget.quota", "budget.ledger")
    return [setting(name, heading=heading) for name in names]


def confirmations(heading: str = "Service and quota") -> Iterable[GroupedOption]:
    """Return the switches by which a user confirms once what a run would otherwise stop for, before any call."""
    return [
        flag("--accept-ledger", "Count in another ledger, or with another key, than the last run.", heading=heading),
        flag("--pay-again", "Send pages again whose paid texts are gone from results.jsonl.", heading=heading),
    ]


def load(
    config_file: Path | None,
    options: Mapping[str, Any],
    *,
    level: str | None = None,
    stderr_level: str | None = None,
    run_id: str | None = None,
    only_flags: bool = False,
) -> Config:
    """Return the configuration with the flags on top, and set up logging by it.

    Args:
        config_file: The value of `--config`.
        options: The command's options by parameter name; those of `setting` count.
        level: The log's level, instead of the configured one.
        stderr_level: Lowest level on stderr alone.
        run_id: The id of the run that this command begins; None for another command.
        only_flags: True reads no file and no environment.

    Raises:
        UsageError: a setting is wrong; the message names source and key.
    """
    flags: dict[tuple[str, str], Any] = {}
    for name, value in options.items():
        section, separator, key = name.partition("__")
        if separator and value is not None and value != ():
            flags[section, key] = value
    if level is not None:
        flags["log", "level"] = level
    ignored: list[str] = []
    if only_flags:
        config = load_config(flags=flags, read_files=False)
    else:
        ignored = check_variables(os.environ, _OTHER_VARIABLES)
        config = load_config(config_file, flags=flags, environ=os.environ, user_dir=user_config_dir())
    set_up_logging(config.log, stderr_level=stderr_level, run_id=run_id)
    if ignored:
        _logger.info("environment: ignored, made for a service of Kubernetes or Docker: %s", ", ".join(ignored))
    return config


def check_flag_variables(environ: Mapping[str, str]) -> None:
    """Return when every variable of a flag is on or off, as `run` demands it.

    Raises:
        UsageError: one is neither; the message names it.
    """
    for name in sorted(_FLAG_VARIABLES & environ.keys()):
        try:
            click.BOOL.convert(environ[name], None, None)
        except click.BadParameter as exc:
            raise UsageError(f"environment: {name}: {exc.message}") from exc


def prefers_key_file(options: Mapping[str, Any]) -> bool:
    """Return whether the key file was given for this run, so that it precedes a key in the environment."""
    return options.get("api__key_file") is not None or "PAGEMILL_API_KEY_FILE" in os.environ


def _click_type(found: Setting) -> dict[str, Any]:
    match found.type:
        case msgspec.inspect.LiteralType():
            return {"type": click.Choice(found.choices)}
        case msgspec.inspect.BoolType():
            return {"is_flag": True}
        case msgspec.inspect.IntType(ge=least, le=most):
            return {"type": click.IntRange(least, most)}
        case msgspec.inspect.FloatType(gt=above):
            return {"type": click.FloatRange(min=above, min_open=True)}
        case msgspec.inspect.CustomType():
            return {"type": click.Path(path_type=Path)}
        case _:
            return {"multiple": isinstance(found.type, msgspec.inspect.VarTupleType)}
