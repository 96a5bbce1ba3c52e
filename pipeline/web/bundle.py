"""One classic script from ES modules: browsers load no modules from `file://`.

The modules follow one convention, so that joining them is a matter of text: `import { name } from "./x.js";` at their
top, and `export` before declarations only. All share one strict function scope: their top-level names must differ.
"""

import re
from collections.abc import Mapping
from typing import Final

_IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "\./([\w.-]+)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?function\b|class\b|const\b|let\b)", re.MULTILINE)
_UNSUPPORTED: Final = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_DECLARATION: Final = re.compile(
    r"^(export )?(?:async )?(?:function\*?|class|const|let|var) ([\w$]+|\{[^}]*\}|\[[^\]]*\])", re.MULTILINE
)
_NAME: Final = re.compile(r"[\w$]+")


def bundle_modules(entry: str, modules: Mapping[str, str]) -> str:
    """Return a script that does what the module `entry` does, with all that it imports.

    Args:
        entry: Name of a module, such as "report.js".
        modules: Source text of the modules by name; those that are not imported are left out.

    Raises:
        ValueError: a module is missing, imports a name that is not exported or a module that imports it, declares a
            name twice, or imports or exports in another form.
    """
    order: list[str] = []
    _visit(entry, modules, order, ())
    _check_names(order, modules)
    bodies = (f"// {name}\n{_strip(name, modules[name])}" for name in order)
    return '(() => {\n"use strict";\n\n' + "\n".join(bodies) + "})();\n"


def _visit(name: str, modules: Mapping[str, str], order: list[str], importers: tuple[str, ...]) -> None:
    """Append a module to the order, after the modules that it imports."""
    if name in order:
        return
    if name in importers:
        raise ValueError(f"{importers[-1]} imports {name}, which imports it")
    if name not in modules:
        raise ValueError(f"there is no module {name}")
    for match in _IMPORT.finditer(modules[name]):
        _visit(match[2], modules, order, (*importers, name))
        missing = set(_names(match[1])) - _exported(modules[match[2]])
        if missing:
            raise ValueError(f"{name}: {match[2]} exports no {', '.join(sorted(missing))}")
    order.append(name)


def _check_names(order: list[str], modules: Mapping[str, str]) -> None:
    """Raise ValueError when two modules declare one name: they share a scope."""
    owners: dict[str, str] = {}
    for module in order:
        for match in _DECLARATION.finditer(modules[module]):
            for name in _NAME.findall(match[2]):
                if name in owners:
                    raise ValueError(f"{owners[name]} and {module} both declare {name}")
                owners[name] = module


def _strip(name: str, source: str) -> str:
    """Return a module without its imports and exports."""
    body = _EXPORT.sub("", _IMPORT.sub("", source)).lstrip("\n")
    if (left := _UNSUPPORTED.search(body)) is not None:
        raise ValueError(f"{name}: cannot bundle: {left[0]}")
    return body


def _exported(source: str) -> set[str]:
    return {match[2] for match in _DECLARATION.finditer(source) if match[1]}


def _names(text: str) -> list[str]:
    """Return the names between the braces of an import; one with `as` stays whole, and so is never exported."""
    return [name.strip() for name in text.split(",") if name.strip()]
