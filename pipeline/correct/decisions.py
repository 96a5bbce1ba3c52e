"""What follows from a correction: a new record, nothing, or a refusal with its reason."""

from dataclasses import replace
from enum import StrEnum

from pipeline.correct.corrections_file import Correction, normalise_breaks
from pipeline.records import Failure, PageId, Record, Reply
from pipeline.review import CORRECTION, Review
from pipeline.workspace.reviews import first_text, revise


class Effect(StrEnum):
    """What a correction did."""

    CORRECTED = "corrected"
    """The page has a text that a person wrote."""
    TRANSCRIBED = "transcribed"
    """So has a page that had failed."""
    RESTORED = "restored"
    """The page has its original text again."""
    CHECKED = "checked"
    """The text is the same, and marked as checked."""
    UNCHECKED = "unchecked"
    """The text is the same, and no longer marked."""
    UNCHANGED = "unchanged"
    """The page had this text and this mark already."""
    SUPERSEDED = "superseded"
    """The same person has corrected the page later."""


class RefusedError(Exception):
    """A correction that cannot be applied; the message is the reason."""


def decide(correction: Correction, record: Record, now: str, *, force: bool) -> tuple[Effect, Record | None]:
    """Return what a correction does to a page, and the record that follows; None for none.

    Args:
        correction: Of the page.
        record: The page's last one.
        now: RFC 3339 in UTC.
        force: True applies it to a page that has got another record since the person saw it.

    Raises:
        RefusedError: it cannot be applied.
    """
    require_content(correction, record.id)
    text, checked = _find_text(correction, record), _find_mark(correction, record, now)
    is_same = text == record.text
    was_checked = None if record.review is None else record.review.checked
    if is_same and checked == was_checked:
        return Effect.UNCHANGED, None
    if not force and is_superseded(correction, record):
        return Effect.SUPERSEDED, None
    base = correction.base if correction.base is not None else record.added
    review = Review(_moment(correction, now), base, correction.by, checked, browser=correction.browser)
    revised = revise(record, text, review, now, line_texts=correction.lines)
    if not is_same:
        return Effect.CORRECTED if revised.is_corrected else Effect.RESTORED, revised
    return Effect.UNCHECKED if checked is None else Effect.CHECKED, revised


def follow(copy: Record, revised: Record) -> Record:
    """Return the record of a page with the same content and text as one that a person has reviewed.

    Args:
        copy: Its last record.
        revised: The other page's new record.
    """
    assert revised.review is not None
    review = replace(revised.review, base=copy.added, original=None)
    texts = None if revised.lines is None else [line.text for line in revised.lines]
    return revise(copy, revised.text, review, revised.added, line_texts=texts)


def transcribe(correction: Correction, failure: Failure, now: str, *, force: bool) -> Record:
    """Return the record of a page that has failed and whose text a person wrote.

    Raises:
        RefusedError: its content is not known or another one, or the line has no text, or the page failed again since.
    """
    if failure.id is None:
        raise RefusedError("it has failed before its content could be read")
    require_content(correction, failure.id)
    if correction.text is None:
        raise RefusedError("it has failed, so that there is no text to check")
    if not force and correction.base not in {None, failure.added}:
        raise RefusedError(f"it has failed again since, at {failure.added}")
    at = _moment(correction, now)
    review = Review(at, failure.added, correction.by, at if correction.checked else None, browser=correction.browser)
    return transcription(failure, failure.id, correction.text, review, now)


def transcription(
    failure: Failure, page_id: PageId, text: str, review: Review, added: str, *, duplicate_of: str | None = None
) -> Record:
    """Return the record of a page that has failed, with a person's text."""
    kind, _, digest = page_id.partition("#")[0].partition(":")
    return Record(
        id=page_id,
        source=failure.source,
        page=failure.page,
        sha256=digest if kind == "sha256" else None,
        text=text,
        duplicate_of=duplicate_of,
        prep=None,
        reply=Reply(None, None, CORRECTION),
        attempts=(),
        elapsed_ms=0,
        added=added,
        meta=failure.meta,
        text_from=CORRECTION,
        review=review,
    )


def require_content(correction: Correction, page_id: str) -> None:
    """Return when a correction is of this content, as far as it says.

    Raises:
        RefusedError: it is of another one.
    """
    if correction.id not in {None, page_id}:
        raise RefusedError("its file has another content now")


def is_superseded(correction: Correction, record: Record) -> bool:
    """Return whether the same person has reviewed the page later than this correction says.

    Raises:
        RefusedError: the page has got another record since the person saw it.
    """
    if correction.base == record.added:  # it was made after this record, whatever the clock of the browser says
        return False
    review = record.review
    is_same_person = review is not None and _is_by_same_person(correction, review)
    if review is not None and correction.at is not None and correction.at < review.at:
        if is_same_person:
            return True
        raise RefusedError(f"{review.by or 'another person'} has reviewed it later, at {review.at}")
    if correction.base is None:
        return False
    if review is None or correction.base != review.base:
        raise RefusedError(f"the page has got another record since, at {record.added}")
    if not is_same_person:  # who saw the same text
        raise RefusedError(f"{review.by or 'another person'} has reviewed it since, at {review.at}")
    return False


def _is_by_same_person(correction: Correction, review: Review) -> bool:
    """Return whether one person has made both: under one name, or in one browser, whatever the name was then."""
    if correction.browser is not None and correction.browser == review.browser:
        return True
    if correction.by is None and review.by is None:
        return correction.browser is None and review.browser is None
    return correction.by == review.by


def _find_text(correction: Correction, record: Record) -> str:
    """Return the page's text; line breaks alone, which browsers change, make no other one."""
    first = first_text(record)
    known = (record.text,) if first is None or first.text is None else (record.text, first.text)
    if correction.text is None:
        return record.text
    return next((text for text in known if normalise_breaks(text) == correction.text), correction.text)


def _find_mark(correction: Correction, record: Record, now: str) -> str | None:
    """Return when the text was marked as checked; a text that changes loses the mark of the former one."""
    was_checked = None if record.review is None else record.review.checked
    is_same = _find_text(correction, record) == record.text
    if correction.checked is None:
        return was_checked if is_same else None
    if not correction.checked:
        return None
    return was_checked if is_same and was_checked is not None else _moment(correction, now)


def _moment(correction: Correction, now: str) -> str:
    """Return when the person did it; a clock that is ahead must not make later corrections the older ones."""
    return now if correction.at is None else min(correction.at, now)
