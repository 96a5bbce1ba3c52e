"""TOML, environment and flags become one frozen Config; an unknown key is an error that names it.

Precedence: flag > `PAGEMILL_*` environment > `--config` or `./pagemill.toml` > user configuration > default.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from pipeline.errors import UsageError

OPERATOR_KEY_VARIABLE: Final = "PAGEMILL_OPERATOR_KEY"
"""Environment variable with the server operator's own key, which has no quota."""

Tier = Literal["free", "basic", "pro", "ultra"]
TIER_CALLS: Final[Mapping[Tier, int | None]] = {"free": 30, "basic": 1_000, "pro": 5_000, "ultra": None}
"""Calls a month; None is unlimited. Source: the API's contract, "Monthly quota by tier"."""

Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class ApiConfig(_Section, frozen=True):
    """`[api]`: which service is called."""

    url: str | None = None
    key_file: Path | None = None
    key_command: str | None = None
    timeout_s: Seconds = 120.0
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 60.0


class BudgetConfig(_Section, frozen=True):
    """`[budget]`: how many calls a month."""

    tier: Tier | None = None
    quota: Count | None = None
    reserve: Count = 0
    reset_day: Annotated[int, Meta(ge=1, le=28)] = 1
    timezone: str = "UTC"
    count_failed_calls: bool = True
    ledger: str | None = None

    @property
    def limit(self) -> int | None:
        """Calls that this key may make in a month; None when they are counted, not limited."""
        plan = self.quota if self.quota is not None else TIER_CALLS[self.tier] if self.tier is not None else None
        return None if plan is None else max(0, plan - self.reserve)


class RunConfig(_Section, frozen=True):
    """`[run]`: how a run behaves."""

    jobs: Positive = 8
    rate_per_s: Seconds | None = None
    max_inflight_bytes: Positive = 256 * 1024 * 1024
    retries: Count = 2
    patience_s: Seconds = 600.0
    max_calls: Count | None = None
    max_duration: float | str | None = None
    max_failures: Count | None = None
    limit: Count | None = None
    at_most_once: bool = False

    @property
    def max_duration_s(self) -> float | None:
        """`max_duration` in seconds."""
        return None if self.max_duration is None else parse_duration(self.max_duration)


class InputConfig(_Section, frozen=True):
    """`[input]`: which files are pages."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_symlinks: bool = False
    changed_by: Literal["mtime", "sha256"] = "mtime"


class PrepareConfig(_Section, frozen=True):
    """`[prepare]`: what the API takes, and how pages are made to fit."""

    max_edge_px: Annotated[int, Meta(ge=100)] = 4000
    min_edge_px: Positive = 100
    max_bytes: Annotated[int, Meta(ge=10_000)] = 10_000_000
    jpeg_quality: Annotated[int, Meta(ge=50, le=100)] = 92
    orient: bool = True
    dedup: bool = True


class LogConfig(_Section, frozen=True):
    """`[log]`: what stderr tells."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class ServeConfig(_Section, frozen=True):
    """`[serve]`: the API on this machine."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    engine: Literal["accurate", "fast"] = "accurate"
    backend: Literal["auto", "openvino", "onnxruntime", "cuda"] = "auto"
    workers: Count = 0
    keys: Path | None = None
    rate_per_s: Seconds = 10.0
    allow_urls: bool = False


class Config(_Section, frozen=True):
    """All settings; every field of every section stands in `config.example.toml`."""

    api: ApiConfig = ApiConfig()
    budget: BudgetConfig = BudgetConfig()
    run: RunConfig = RunConfig()
    input: InputConfig = InputConfig()
    prepare: PrepareConfig = PrepareConfig()
    log: LogConfig = LogConfig()
    serve: ServeConfig = ServeConfig()

    def without_secrets(self) -> dict[str, dict[str, Any]]:
        """Return all settings as plain values; a command that prints the key may hold a secret itself."""
        settings: dict[str, dict[str, Any]] = msgspec.to_builtins(self, enc_hook=str)
        if settings["api"]["key_command"] is not None:
            settings["api"]["key_command"] = "(set)"
        return settings


Overrides = Mapping[tuple[str, str], Any]
"""Values by (section, key)."""


def load_config(
    path: Path | None = None,
    *,
    flags: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
    user_dir: Path | None = None,
    read_files: bool = True,
) -> Config:
    """Return the configuration that flags, environment and files make together.

    Args:
        path: The file given with `--config`; without it `./pagemill.toml` is read when it is there.
        flags: What the command line says; None values say nothing.
        environ: The environment; `PAGEMILL_<SECTION>_<KEY>` sets a key, lists are separated by commas.
        user_dir: Where the user's own `config.toml` lies.
        read_files: False reads no file at all.

    Raises:
        UsageError: a file cannot be read, or a key or value in one of the four places is wrong; the message names
            the place and the key.
    """
    layers: list[tuple[str, dict[str, dict[str, Any]]]] = []
    user_file = user_dir / "config.toml" if user_dir else None
    if user_file and user_file.is_file():
        layers.append((str(user_file), _read_toml(user_file)))
    file = path if path is not None else Path("pagemill.toml") if Path("pagemill.toml").is_file() else None
    if file is not None and read_files:
        layers.append((str(file), _read_toml(file)))
    layers.append(("environment", _read_environ(environ if environ is not None else {})))
    layers.append(("command line", _nest(flags or {})))
    merged: dict[str, dict[str, Any]] = {}
    config = Config()
    for origin, layer in layers:
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
        config = _convert(merged, origin)
    return config


def parse_duration(value: float | str) -> float:
    """Return seconds: a number, or a number with s, m, h or d behind it ("90m").

    Raises:
        ValueError: anything else, or not above zero.
    """
    text = str(value).strip().lower()
    unit = _UNIT_S.get(text[-1:], None)
    seconds = float(text[:-1]) * unit if unit else float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{value!r} is no duration")
    return seconds


def setting_names() -> list[tuple[str, str]]:
    """Return every (section, key) that exists."""
    return [
        (section.name, key.name)
        for section in msgspec.structs.fields(Config)
        for key in msgspec.structs.fields(section.type)
    ]


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
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


def _read_environ(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[tuple[str, str], Any] = {}
    for section, key in setting_names():
        value = environ.get(f"PAGEMILL_{section}_{key}".upper())
        if value is not None:
            is_list = isinstance(getattr(getattr(Config(), section), key), tuple)
            found[section, key] = [part for part in value.split(",") if part] if is_list else value
    return _nest(found)


def _nest(values: Overrides) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for (section, key), value in values.items():
        if value is not None:
            nested.setdefault(section, {})[key] = value
    return nested


def _convert(merged: Mapping[str, Mapping[str, Any]], origin: str) -> Config:
    known = set(setting_names())
    for section, table in merged.items():
        if section not in {name for name, _ in known}:
            raise UsageError(f"{origin}: unknown section '[{section}]'")
        for key in table:
            if (section, key) not in known:
                raise UsageError(f"{origin}: unknown key '{key}' in [{section}]{_suggest(section, key)}")
    try:
        config = msgspec.convert(merged, Config, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as exc:
        problem, _, place = str(exc).partition(" - at `$.")
        raise UsageError(f"{origin}: {place.rstrip('`') or 'value'}: {problem}") from exc
    _check_values(config, origin)
    return config


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError("Expected a path")


def _check_values(config: Config, origin: str) -> None:
    try:
        ZoneInfo(config.budget.timezone)
    except (KeyError, ValueError, OSError) as exc:
        raise UsageError(f"{origin}: budget.timezone: no time zone '{config.budget.timezone}'") from exc
    if config.run.max_duration is not None:
        try:
            parse_duration(config.run.max_duration)
        except ValueError as exc:
            raise UsageError(
                f"{origin}: run.max_duration: '{config.run.max_duration}' is no duration such as 3600 or 8h"
            ) from exc
    if config.prepare.min_edge_px > config.prepare.max_edge_px:
        raise UsageError(f"{origin}: prepare.min_edge_px is above prepare.max_edge_px")


def _suggest(section: str, key: str) -> str:
    import difflib  # noqa: PLC0415 - only on the way to an error

    near = difflib.get_close_matches(key, [name for part, name in setting_names() if part == section], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def default_state_dir() -> Path:
    """Return where ledgers lie unless `--ledger` moves them."""
    import platformdirs  # noqa: PLC0415 - only commands that touch the ledger need it

    return Path(os.environ.get("PAGEMILL_STATE_DIR") or platformdirs.user_state_dir("pagemill"))
