"""Names as a page shows them: whatever bytes they have, they are one short line that cannot run or turn the text."""

from typing import Final

from pipeline.errors import one_line

MOST_CHARACTERS: Final = 160
"""A longer name keeps its begin and its end."""


def shown(name: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a name without control characters, direction marks and surrogates, which are escaped as by `one_line`.

    Args:
        name: Any text, such as a file's name.
        most: Characters that are kept; of a longer name the middle is left out.
    """
    if len(name) > most:
        half = (most - 1) // 2
        name = f"{name[: most - 1 - half]}…{name[-half:]}"
    return one_line(name)
