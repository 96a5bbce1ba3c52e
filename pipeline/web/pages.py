"""Pages of HTML from templates: each is one file that loads nothing."""

from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from pipeline.web.assets import STATIC
from pipeline.web.names import shown
from pipeline.wire import replace_surrogates

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES: Final = resources.files("pipeline.web") / "templates"


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a page.

    Attributes:
        heading: Its name.
        notes: Sentences below it.
        picture: A chart or table; an empty one when there is nothing to show.
    """

    heading: str
    notes: tuple[str, ...]
    picture: Markup


def render(template: str, **values: object) -> Markup:
    """Return a template with these values; texts are escaped, `Markup` is not.

    Args:
        template: Name of the file in `templates`.
        values: What the template names; a missing one is an error.

    Raises:
        jinja2.UndefinedError: the template names a value that is missing.
    """
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 - the templates escape


def style() -> str:
    """Return the style of pages with charts: the shared one, and that of charts and tables."""
    return "\n".join(file.read_text("utf-8") for file in (STATIC / "style.css", _TEMPLATES / "charts.css"))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415 - only pages need it

    environment = Environment(
        loader=FunctionLoader(lambda name: (_TEMPLATES / name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.globals["version"] = metadata.version("pagemill")
    environment.globals["style"] = lambda: Markup(style())  # noqa: S704 - files of this package
    return environment


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever a template prints
    """Return what UTF-8 and HTML can hold in place of a text that has surrogates or NUL."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return replace_surrogates(value).replace("\0", "\ufffd")
    return value
