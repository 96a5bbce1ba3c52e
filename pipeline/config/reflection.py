"""The settings as a list: what help, example file, documentation and the check of variables are made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

import msgspec

from pipeline.config.settings import Config


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the fields above describe it.

    Attributes:
        section: Table of the configuration file.
        key: Its key there.
        type: Its value's type, without description.
        choices: The values that it may take; empty when it is no choice.
        default: None when it has none.
        description: What it means.
        flag: The flag that sets it, such as "-j/--jobs"; None when only files and environment do.
        metavar: What the flag's value is called in help.
        example: What the example file shows for a setting without a default.
        unset: What happens when it is not set.
    """

    section: str
    key: str
    type: msgspec.inspect.Type
    choices: tuple[str, ...]
    default: Any
    description: str
    flag: str | None
    metavar: str | None
    example: Any
    unset: str

    @property
    def name(self) -> str:
        """Section and key, such as "run.jobs"."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable of the key, such as PAGEMILL_RUN_JOBS."""
        return f"PAGEMILL_{self.section}_{self.key}".upper()

    @property
    def flag_variable(self) -> str | None:
        """The environment variable of the flag, such as PAGEMILL_JOBS; it precedes that of the key."""
        if self.flag is None:
            return None
        long = next(name for name in self.flag.split("/") if name.startswith("--"))
        return "PAGEMILL_" + long.removeprefix("--").replace("-", "_").upper()


@cache
def all_settings() -> Mapping[str, Setting]:
    """Return every setting by its name, in the order of the configuration file."""
    found = {}
    for section in msgspec.structs.fields(Config):
        info = msgspec.inspect.type_info(section.type)
        assert isinstance(info, msgspec.inspect.StructType)
        for field, declared in zip(info.fields, msgspec.structs.fields(section.type), strict=True):
            about = field.type
            assert isinstance(about, msgspec.inspect.Metadata), field.name
            assert about.extra_json_schema is not None
            setting = Setting(
                section.name,
                field.name,
                _value_type(about.type),
                tuple(_literals(declared.type)),
                field.default,
                about.extra_json_schema["description"],
                **(about.extra or {}),
            )
            found[setting.name] = setting
    return found


def _value_type(declared: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Return the type of a value that is set; text where several types are allowed."""
    if not isinstance(declared, msgspec.inspect.UnionType):
        return declared
    kinds = [kind for kind in declared.types if not isinstance(kind, msgspec.inspect.NoneType)]
    return kinds[0] if len(kinds) == 1 else msgspec.inspect.StrType()


def _literals(annotation: object) -> Iterator[str]:
    """Yield the values of a Literal inside an annotation, in the order of their declaration."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)
