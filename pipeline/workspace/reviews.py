"""How a person's review changes a record: the text, where its lines are, and the original that stays readable."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.alignment import align, put_text
from pipeline.positions import TextLine
from pipeline.records import Record
from pipeline.review import CORRECTION, Original, Review


def first_text(record: Record) -> Original | None:
    """Return the text that a page had before any person changed it; None when a person wrote its first text."""
    review = record.review
    if review is not None and (review.original is None or review.original.text is not None):
        return review.original
    added = record.added if review is None or review.original is None else review.original.added
    return Original(added, record.text, record.text_from, record.skipped, record.lines)


def revise(record: Record, text: str, review: Review, added: str, *, line_texts: Sequence[str] | None = None) -> Record:
    """Return the record that follows when a person has reviewed a page; no call was made for it.

    Args:
        record: The page's last one.
        text: As it is now.
        review: What the person did; its original is taken from the record.
        added: When, RFC 3339.
        line_texts: The text of each of the record's lines, in their order; None when only the text is known, and
            ignored when these are not its words.
    """
    first = first_text(record)
    record = replace(record, added=added, again=False, text=text)
    if first is not None and text == first.text:
        unchanged = replace(review, original=Original(first.added))
        return replace(record, review=unchanged, text_from=first.text_from, skipped=first.skipped, lines=first.lines)
    lines = None if first is None else _place(record, first, text, line_texts)
    return replace(record, review=replace(review, original=first), text_from=CORRECTION, skipped=None, lines=lines)


def keep_review(record: Record, kept: Record) -> Record:
    """Return the record of a page that was read again, with the text that a person gave it.

    Args:
        record: With the new text of the service, which becomes the original.
        kept: The page's record until now, which was reviewed.
    """
    assert kept.review is not None
    revised = revise(record, kept.text, replace(kept.review, base=kept.added), record.added)
    return replace(revised, again=record.again)


def _place(record: Record, first: Original, text: str, line_texts: Sequence[str] | None) -> tuple[TextLine, ...] | None:
    if first.lines is None:
        return None
    if line_texts is not None and record.lines is not None and len(line_texts) == len(record.lines):
        texts = [" ".join(line.split()) for line in line_texts]
        if _words(texts) == _words([text]):
            return tuple(line for line in map(put_text, record.lines, texts) if line.text)
    prep = record.prep
    return align(first.lines, text, None if prep is None else (prep.width_px, prep.height_px))


def _words(texts: Sequence[str]) -> str:
    """Return texts without their white space."""
    return "".join(character for text in texts for character in text.split())
