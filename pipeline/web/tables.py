"""Tables of numbers, and bars beside numbers; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.web.names import shown


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of a chart.

    Attributes:
        head: Name of each column; the first column names the rows.
        rows: Cells as texts.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def bars(rows: Sequence[tuple[str, int]], unit: str, *, looks: Sequence[int] = ()) -> Markup:
    """Return horizontal bars as a table: the number beside each bar says the same, so readers aloud skip the bar.

    Args:
        rows: (name, number >= 0).
        unit: Heading of the numbers.
        looks: Pattern and colour of each bar, 1 to 5; by default all are 1.
    """
    most = max((number for _, number in rows), default=0) or 1
    body = Markup().join(
        Markup(
            '<tr><th scope="row"><bdi>{}</bdi></th><td class="bar"><svg aria-hidden="true" focusable="false">'
            '<rect class="bar-{}" width="{}%" height="100%"/></svg></td><td>{}</td></tr>\n'
        ).format(shown(name), looks[place] if looks else 1, percent(number / most), f"{number:,}")
        for place, (name, number) in enumerate(rows)
    )
    head = Markup('<thead><tr><td></td><td></td><th scope="col">{}</th></tr></thead>').format(unit)
    return Markup('<table class="bars">{}<tbody>\n{}</tbody></table>').format(head, body)


def render_table(table: Table) -> Markup:
    """Return a table of numbers."""
    head = Markup().join(Markup('<th scope="col">{}</th>').format(name) for name in table.head)
    body = Markup().join(_table_row(row) for row in table.rows)
    return Markup('<table class="numbers"><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table>').format(head, body)


def _table_row(row: Sequence[str]) -> Markup:
    first, *others = row
    cells = Markup().join(Markup("<td>{}</td>").format(cell) for cell in others)
    return Markup('<tr><th scope="row"><bdi>{}</bdi></th>{}</tr>\n').format(shown(first), cells)


def percent(share: float) -> str:
    """Return a share as a percentage without the sign, to two decimals."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".")
