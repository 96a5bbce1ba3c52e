"""How far a recognised text is from the truth."""


def character_error_rate(truth: str, text: str) -> float:
    """Return the edits that turn `text` into `truth`, per character of the truth; white space counts nowhere.

    Without any truth each character read is one error to one: 0.0 for an empty text, 3.0 for three characters.

    Source:
        Levenshtein distance over code points, no Unicode normalisation.
    """
    wanted, got = "".join(truth.split()), "".join(text.split())
    return edit_distance(wanted, got) / max(1, len(wanted))


def edit_distance(left: str, right: str) -> int:
    """Return the least number of characters to insert, delete or replace, by Wagner and Fischer's rows."""
    row = list(range(len(right) + 1))
    for deleted, a in enumerate(left, start=1):
        diagonal, row[0] = row[0], deleted
        for column, b in enumerate(right, start=1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (a != b))
    return row[-1]
