"""Judges how well a page was read, from what the engine knows without the truth.

Two signs go with errors. *Confidence*, the recogniser's own, falls with blur, noise and low resolution. Its mean over
the characters tells more than the least certain line: a smudge makes a low minimum on a good page. Wrong characters are
about twice as many as the mean says, hence its square. *Unread ink* rises when text was not found, which has no
confidence. Of a good page, pictures and rules are unread, up to `UNREAD_BY_PICTURES` of its ink, and logos and
handwriting, up to `UNREAD_LIKE_TYPE`, look like type; what is beyond counts as lost:

    right  = mean confidence² * (1 - lost)
    lost   = how far the unread ink, or that which looks like type, is from the share of a good page (0) to all (1);
             the larger of the two
    length = characters that were read / (1 - lost) / `USUAL_CHARACTERS`
    score  = right ** √length

`right` is about the share of the text that is right. By it alone a label of a few words with one error ranks before a
page with fifty, and by the number of errors a long page with few before a lost one. So both count: the logarithm of the
score is about the geometric mean of the share of wrong characters and of their number, in usual pages.

The worst fifth of 157 pages by score holds 90 % of the errors in the fifth that has most; ranked by the share alone,
60 %. Neither sign shows text that was washed out, or that is part of a picture.
"""

import math
from collections.abc import Sequence
from typing import Final

from pipeline.engine.recognition import Line, Recognition
from pipeline.quality import Confidence, Quality, round_quality

THRESHOLD: Final = 0.9
"""Pages with a lower score are in doubt. Of 157 real, rendered and damaged pages 27 were, with 79 % of all errors: 23
had ten wrong characters or more, 14 over 5 %, three below 1 %. Of eight with over 10 % wrong three were not."""

USUAL_CHARACTERS: Final = 300
"""Of a page of so many characters the score is about the share that is right. The number does not change which page
ranks before which, only which are in doubt."""

UNREAD_BY_PICTURES: Final = 0.55
UNREAD_LIKE_TYPE: Final = 0.25
"""Shares of a page's ink that may be unread without a loss of text."""


def judge(recognition: Recognition) -> Quality:
    """Return how well a page was read."""
    weights = [max(1, len("".join(line.text.split()))) for line in recognition.lines]
    confidence = _summarise(recognition.lines, weights)
    lost = max(_lost_by_ink(recognition.unread_ink), _lost_by_type(recognition.unread_type))
    return round_quality(
        Quality(
            score=_score(confidence.mean if confidence else 1.0, sum(weights), lost),
            threshold=THRESHOLD,
            confidence=confidence,
            unread_ink=recognition.unread_ink,
            unread_type=recognition.unread_type,
            precision=recognition.precision,
        )
    )


def describe_doubt(quality: Quality) -> tuple[str, ...]:
    """Return in short sentences why a page is in doubt; none for a page that is not."""
    if not quality.is_in_doubt:
        return ()
    if quality.confidence is None:
        return ("no text was found, although the page has ink",)
    reasons = []
    by_ink, by_type = _lost_by_ink(quality.unread_ink), _lost_by_type(quality.unread_type)
    if by_ink or by_type:
        kind, share = ("", quality.unread_ink) if by_ink >= by_type else (" that looks like type", quality.unread_type)
        reasons.append(f"much ink{kind} is unread: {100 * share:.0f} %")
    mean = quality.confidence.mean
    if mean**2 < quality.threshold:
        reasons.append(f"the recogniser is unsure of the text: mean confidence {mean:.2f}")
    elif not reasons:
        reasons.append(f"the page is long, so that some of its text is probably wrong: mean confidence {mean:.2f}")
    return tuple(reasons)


def _summarise(lines: Sequence[Line], weights: Sequence[int]) -> Confidence | None:
    """Return the confidence in the lines, each weighted by its characters; None without lines."""
    if not lines:
        return None
    total = sum(line.confidence * weight for line, weight in zip(lines, weights, strict=True))
    return Confidence(mean=total / sum(weights), minimum=min(line.confidence for line in lines))


def _score(confidence: float, characters: int, lost: float) -> float:
    """Return the score of a page, of which so many characters were read."""
    right = confidence**2 * (1 - lost)
    return right ** math.sqrt(characters / (1 - lost) / USUAL_CHARACTERS) if right else 0.0


def _lost_by_ink(unread_ink: float) -> float:
    """Return which share of the text is lost, as far as its ink tells."""
    return max(0.0, (unread_ink - UNREAD_BY_PICTURES) / (1 - UNREAD_BY_PICTURES))


def _lost_by_type(unread_type: float) -> float:
    """Return which share of the text is lost, as far as the ink that looks like type tells."""
    return max(0.0, (unread_type - UNREAD_LIKE_TYPE) / (1 - UNREAD_LIKE_TYPE))
