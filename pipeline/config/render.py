"""What people read about settings, made from their descriptions: help, example file, table, values in force."""

import textwrap
from collections.abc import Iterator
from typing import Any, Final

import orjson

from pipeline.config.reflection import Setting, all_settings
from pipeline.config.settings import Config

_HEAD: Final = """\
# pagemill: every setting with its default. Copy this file to ./pagemill.toml, or name it with --config.
#
# Precedence: flag > PAGEMILL_* environment > --config or ./pagemill.toml > user configuration > default.
# Every key is also PAGEMILL_<SECTION>_<KEY> (PAGEMILL_BUDGET_TIER=pro), every flag PAGEMILL_<FLAG> (PAGEMILL_TIER=pro).
# A key without a default is a comment that shows an example.
"""


def flag_help(setting: Setting) -> str:
    """Return the help of a setting's flag: "Port; 0 takes a free one.  [default: 8080; PAGEMILL_PORT]"."""
    if setting.default is None:
        default = f"default: {setting.unset}; "
    else:
        is_off = setting.default is False or setting.default == ()
        default = "" if is_off else f"default: {_plain(setting.default)}; "
    return f"{setting.description}  [{default}{setting.flag_variable}]"


def example_file() -> str:
    """Return `config.example.toml`."""
    lines = [_HEAD]
    for section, settings in _by_section():
        lines += [f"# {_section_doc(section)}", f"[{section}]"]
        for setting in settings:
            unset = f" Default: {setting.unset}." if setting.unset else ""
            lines += textwrap.wrap(f"{setting.description}{unset}", 118, initial_indent="# ", subsequent_indent="# ")
            if setting.default is None:
                lines.append(f"# {setting.key} = {_toml(setting.example)}")
            else:
                lines.append(f"{setting.key} = {_toml(setting.default)}")
        lines.append("")
    return "\n".join(lines)


def settings_table() -> str:
    """Return the documentation's tables of all settings, in Markdown."""
    lines: list[str] = []
    for section, settings in _by_section():
        lines += [f"### `[{section}]`", "", _section_doc(section), ""]
        lines += ["| key | default | flag | meaning |", "|---|---|---|---|"]
        for setting in settings:
            default = setting.unset if setting.default is None else f"`{_toml(setting.default)}`"
            flag = "" if setting.flag is None else f"`{setting.flag.replace('/', ', ')}`"
            lines.append(f"| `{setting.key}` | {default} | {flag} | {setting.description} |")
        lines.append("")
    return "\n".join(lines)


def values_in_force(config: Config) -> str:
    """Return a configuration as TOML; a key that is not set is a comment."""
    lines: list[str] = []
    for section, table in config.without_secrets().items():
        lines.append(f"[{section}]")
        lines += [f"# {key} is not set" if value is None else f"{key} = {_toml(value)}" for key, value in table.items()]
        lines.append("")
    return "\n".join(lines)


def _by_section() -> Iterator[tuple[str, list[Setting]]]:
    settings = list(all_settings().values())
    for section in dict.fromkeys(setting.section for setting in settings):
        yield section, [setting for setting in settings if setting.section == section]


def _section_doc(section: str) -> str:
    return " ".join((type(getattr(Config(), section)).__doc__ or "").split())


def _toml(value: Any) -> str:  # noqa: ANN401 - a setting's value is a TOML scalar or array
    return orjson.dumps(value).decode()  # the strings, numbers, booleans and arrays of JSON are those of TOML


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "on" if value is True else str(value)
