"""Merges the sources of settings; an unknown key, variable or value is an error that names source and key.

Precedence: flag > `PAGEMILL_*` environment > `--config` or `./pagemill.toml` > user configuration > default.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import platformdirs

from pipeline.config.duration import parse_duration, parse_moment
from pipeline.config.input_settings import FILE_KINDS
from pipeline.config.page_ranges import PageRanges
from pipeline.config.reflection import Setting, all_settings
from pipeline.config.settings import Config
from pipeline.config.shard import Shard
from pipeline.errors import UsageError

Overrides = Mapping[tuple[str, str], Any]
"""Values by (section, key)."""

_Tables = dict[str, dict[str, Any]]

_LOCAL_FILE: Final = Path("pagemill.toml")

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off", ""})

_RETIRED: Final[Mapping[tuple[str, str], str]] = {
    ("budget", "reserve"): "it is called 'keep_for_others' since 0.2",
    ("output", "fsync"): "it was removed in 0.2: results are always synced",
}
"""Keys of earlier releases, and what became of them."""

_RETIRED_DEDUP: Final = {"true": "content", "1": "content", "false": "off", "0": "off"}
"""Values of an earlier release, when it was a switch."""

_SERVICE: Final = r"PAGEMILL(?:_[A-Z0-9_]+)?"
_PROTOCOL: Final = r"(?:TCP|UDP|SCTP)"
_SERVICE_VARIABLES: Final = tuple(
    (re.compile(rf"{_SERVICE}_{name}").fullmatch, re.compile(value).fullmatch)
    for name, value in (
        (rf"PORT(?:_\d+_{_PROTOCOL})?", r"(?i:tcp|udp|sctp)://.+"),
        (rf"PORT_\d+_{_PROTOCOL}_PROTO", r"(?i:tcp|udp|sctp)"),
        (rf"PORT_\d+_{_PROTOCOL}_PORT", r"\d+"),
        (rf"PORT_\d+_{_PROTOCOL}_ADDR", r"\S+"),
        (r"SERVICE_HOST", r"\S+"),
        (r"SERVICE_PORT(?:_[A-Z0-9_]+)?", r"\d+"),
        (r"NAME", r"/[^/]+/[^/]+"),
        (r"ENV_\w+", r"(?s:.*)"),
    )
)
"""Names of the variables of a service, and what their values look like."""


def load_config(
    path: Path | None = None,
    *,
    flags: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
    user_dir: Path | None = None,
    read_files: bool = True,
) -> Config:
    """Return the configuration that files, environment and flags make together.

    Args:
        path: The file given with `--config`; without it `./pagemill.toml` is read when it exists.
        flags: Values of the command line; None is no value.
        environ: The environment. `PAGEMILL_<FLAG>` precedes `PAGEMILL_<SECTION>_<KEY>`; lists are separated by commas.
        user_dir: Directory of the user's own `config.toml`.
        read_files: False reads no file at all.

    Raises:
        UsageError: a file cannot be read, or a key or value of a source is wrong; the message names source and key.
    """
    layers: list[tuple[str, _Tables]] = []
    if read_files:
        user_file = user_dir / "config.toml" if user_dir else None
        files = [*([user_file] if user_file and _is_file(user_file) else []), path or _LOCAL_FILE]
        layers += [(str(file), _read_toml(file)) for file in files if file == path or _is_file(file)]
    for settings in _read_environ(environ if environ is not None else {}):
        layers.append(("environment", settings))
    layers.append(("command line", _nest(flags or {})))
    merged: _Tables = {}
    config = Config()
    for source, layer in layers:
        _check_names(layer, source)
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
        config = _convert(merged, source)
    return config


def check_variables(environ: Mapping[str, str], others: Iterable[str]) -> list[str]:
    """Return when every `PAGEMILL_*` variable is known; a misspelt limit would not limit.

    Args:
        environ: All environment variables.
        others: Known variables that are no settings.

    Returns:
        The names of the variables that are ignored, because Kubernetes or Docker made them for a service.

    Raises:
        UsageError: one is unknown; the message names the nearest known one.
    """
    known = set(others)
    for setting in all_settings().values():
        known.update(filter(None, (setting.variable, setting.flag_variable)))
    ignored = []
    for name in sorted(environ):
        if not name.startswith("PAGEMILL_"):
            continue
        if is_service_variable(name, environ[name]):
            ignored.append(name)
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"environment: unknown variable {name}{hint}")
    return ignored


def is_service_variable(name: str, value: str) -> bool:
    """Return whether Kubernetes or Docker made a variable for a service called pagemill, or pagemill-something.

    Both pass the addresses of other services to each container: PAGEMILL_PORT=tcp://10.0.0.1:80 for a service
    "pagemill", which would otherwise be taken for `--port`. The value decides: PAGEMILL_PORT=8080 is a setting.

    Source:
        Kubernetes, "Accessing the Service", environment variables; Docker, "Legacy container links".
    """
    return any(is_name(name) and is_value(value) for is_name, is_value in _SERVICE_VARIABLES)


def user_config_dir() -> Path | None:
    """Return the directory of the user's `config.toml`; None for a user without a home directory."""
    try:
        return platformdirs.user_config_path("pagemill")
    except RuntimeError:
        return None


def default_state_dir() -> Path:
    """Return the directory of ledgers and keys unless a setting moves them.

    Raises:
        UsageError: the user has no home directory.
    """
    try:
        return Path(os.environ.get("PAGEMILL_STATE_DIR") or platformdirs.user_state_dir("pagemill"))
    except RuntimeError as exc:
        raise UsageError("this user has no home directory (HOME is not set); set PAGEMILL_STATE_DIR") from exc


def expand_home(path: Path | str) -> Path:
    """Return a path with the home directory in place of its `~` or `~user`.

    Raises:
        UsageError: the user has no home directory, or does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise UsageError(f"{path}: no such home directory (is HOME set?)") from exc


def _is_file(path: Path) -> bool:
    """Return whether a configuration file is there.

    Raises:
        UsageError: its directory may not be entered, so that its limits would be missed.
    """
    try:
        return path.is_file()
    except OSError as exc:
        advice = (
            "the home directory may not be entered; is HOME another user's?"
            if path.is_absolute()
            else "the current directory may not be entered; change to another, or name a file with --config"
        )
        raise UsageError(f"{path}: {exc.strerror}: {advice}") from exc


def _read_toml(path: Path) -> _Tables:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not TOML: {exc}") from exc
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: unknown key '{name}' outside the sections")
    return tables


def _read_environ(environ: Mapping[str, str]) -> Sequence[_Tables]:
    """Return the settings of the variables of keys, and those of the variables of flags, which precede them."""
    by_key: dict[tuple[str, str], Any] = {}
    by_flag: dict[tuple[str, str], Any] = {}
    for setting in all_settings().values():
        for found, variable in ((by_key, setting.variable), (by_flag, setting.flag_variable)):
            if variable is None or variable not in environ:
                continue
            if not is_service_variable(variable, environ[variable]):
                found[setting.section, setting.key] = _parse_variable(setting, environ[variable])
    return _nest(by_key), _nest(by_flag)


def _parse_variable(setting: Setting, text: str) -> object:
    """Return a variable's value; a text that is not valid is left for the conversion to report."""
    if isinstance(setting.type, msgspec.inspect.VarTupleType):
        return [part for part in text.split(",") if part]
    if isinstance(setting.type, msgspec.inspect.BoolType):
        word = text.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else text
    return text


def _nest(values: Overrides) -> _Tables:
    nested: _Tables = {}
    for (section, key), value in values.items():
        if value is not None:
            nested.setdefault(section, {})[key] = value
    return nested


def _check_names(layer: _Tables, source: str) -> None:
    settings = all_settings()
    sections = {setting.section for setting in settings.values()}
    for section, table in layer.items():
        for key in table:
            if (section, key) in _RETIRED:
                raise UsageError(f"{source}: key '{key}' in [{section}]: {_RETIRED[section, key]}")
        if (former := str(layer.get("prepare", {}).get("dedup")).lower()) in _RETIRED_DEDUP:
            raise UsageError(f"{source}: prepare.dedup: {former} is called '{_RETIRED_DEDUP[former]}' since 0.3")
        if section not in sections:
            raise UsageError(f"{source}: unknown section '[{section}]'")
        for key in table:
            if f"{section}.{key}" not in settings:
                known = [setting.key for setting in settings.values() if setting.section == section]
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise UsageError(f"{source}: unknown key '{key}' in [{section}]{hint}")


def _convert(merged: _Tables, source: str) -> Config:
    try:
        config = msgspec.convert(merged, Config, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as exc:
        problem, _, place = str(exc).partition(" - at `$.")
        raise UsageError(f"{source}: {place.rstrip('`') or 'value'}: {problem}") from exc
    _check_values(config, source)
    return config


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError("Expected a path")


def _check_values(config: Config, source: str) -> None:
    """Check what the types of the settings cannot express."""
    try:
        ZoneInfo(config.budget.timezone)
    except (KeyError, ValueError, OSError) as exc:
        raise UsageError(f"{source}: budget.timezone: no time zone '{config.budget.timezone}'") from exc
    chosen, now = config.input, datetime.now(UTC)
    duration, moment = "duration such as 3600 or 8h", "date, time or duration such as 2d"
    _require(source, "run.max_duration", config.run.max_duration, parse_duration, duration)
    _require(source, "operate.stats", config.operate.stats, parse_duration, duration)
    _require(source, "input.changed_since", chosen.changed_since, lambda text: parse_moment(text, now), moment)
    _require(source, "input.pages", chosen.pages, PageRanges.parse, "list of pages such as 1-3,10-")
    _require(source, "input.shard", chosen.shard, Shard.parse, "shard such as 2/7")
    for kind in config.input.exclude_kinds:
        if kind not in FILE_KINDS:
            raise UsageError(f"{source}: input.exclude_kinds: no kind '{kind}'; the kinds are {', '.join(FILE_KINDS)}")
    if config.prepare.min_edge_px > config.prepare.max_edge_px:
        raise UsageError(f"{source}: prepare.min_edge_px is above prepare.max_edge_px")


def _require(source: str, name: str, value: float | str | None, parse: Callable[[Any], object], kind: str) -> None:
    """Raise UsageError when a value that is given cannot be parsed."""
    try:
        _ = None if value is None else parse(value)
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{source}: {name}: '{value}' is no {kind}") from exc
