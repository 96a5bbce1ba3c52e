"""What pages that are open learn of the corrections that were saved since their report was built."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.report.reviews import Reviews, results_bytes
from pipeline.workspace.result_lines import encode_record
from tests.corrections import correct
from tests.report.review_pages import failure, plain_record, write_review
from tests.runs import results


@pytest.fixture
def out(tmp_path: Path) -> Path:
    records = [plain_record("a.png", "a"), plain_record("b.png", "b"), plain_record("caf\udce9.png", "c")]
    return write_review(tmp_path, records, [failure("d.tif")])


def follow(out: Path) -> Reviews:
    return Reviews(out, results_bytes(out))


def ask(reviews: Reviews, after: int = 0) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = orjson.loads(reviews.find(after))
    return answer


def texts(answer: Mapping[str, Any]) -> list[str]:
    return [review["text"] for review in answer["reviews"]]


def test_each_review_is_told_with_its_person_and_the_record_to_correct_further(out: Path) -> None:
    reviews = follow(out)
    assert ask(reviews) == {"last": 0, "more": False, "missed": False, "waiting": False, "reviews": []}
    line = {
        "source": "a.png",
        "page": 1,
        "text": "A",
        "by": "Ada",
        "browser": "3f9a1c07",
        "at": "2026-11-30T10:12:00Z",
        "checked": True,
    }
    correct(out, line)
    record = results(out)[-1]
    assert ask(reviews)["reviews"] == [
        {
            "source": "a.png",
            "page": 1,
            "id": record["id"],
            "text": "A",
            "corrected": True,
            "checked": True,
            "by": "Ada",
            "browser": "3f9a1c07",
            "at": record["review"]["at"],
            "added": record["added"],
        }
    ]
    seen = ask(reviews)["last"]
    assert texts(ask(reviews, seen)) == []
    correct(out, {"source": "d.tif", "page": 1, "text": "D"}, {"source": "b.png", "page": 1, "checked": True})
    assert texts(ask(reviews, seen)) == ["D", "b"]
    assert [review["corrected"] for review in ask(reviews, seen)["reviews"]] == [True, False]


def test_a_name_that_is_not_utf_8_has_its_bytes(out: Path) -> None:
    reviews = follow(out)
    correct(out, {"source": "", "source_b64": "Y2Fm6S5wbmc=", "page": 1, "text": "C"})
    (review,) = ask(reviews)["reviews"]
    assert review["source_b64"] == "Y2Fm6S5wbmc="


def test_only_the_last_review_of_a_page_is_kept_and_no_page_of_a_run(out: Path) -> None:
    reviews = follow(out)
    for text in ("one", "two"):
        correct(out, {"source": "a.png", "page": 1, "text": text})
    with (out / "results.jsonl").open("ab") as file:
        file.write(encode_record(plain_record("e.png", "e")))
    assert texts(ask(reviews)) == ["two"]


def test_reviews_of_before_the_build_are_in_the_report(out: Path) -> None:
    correct(out, {"source": "a.png", "page": 1, "text": "before"})
    assert ask(follow(out))["reviews"] == []


def test_memory_is_bounded_and_a_page_that_missed_something_is_told(out: Path) -> None:
    reviews = Reviews(out, results_bytes(out), kept_bytes=4000)
    for name in ("a.png", "b.png"):
        correct(out, {"source": name, "page": 1, "text": name * 400})
    answer = ask(reviews)
    assert [review["source"] for review in answer["reviews"]] == ["b.png"]
    assert (answer["missed"], answer["last"]) == (True, 2)
    assert not ask(reviews, answer["last"])["missed"]


def test_a_page_that_another_server_has_answered_before_is_told_all_and_that_some_may_be_missing(out: Path) -> None:
    """It is still open in a tab, and asks with that server's number."""
    correct(out, {"source": "b.png", "page": 1, "text": "hers"})
    former = Reviews(out, 0, first=1000)
    last = ask(former)["last"]
    assert last == 1001
    reviews = Reviews(out, 0, first=2000)
    assert (texts(ask(reviews)), ask(reviews)["missed"]) == (["hers"], False)
    answer = ask(reviews, last)
    assert (texts(answer), answer["missed"], answer["last"]) == (["hers"], True, 2001)
    assert not ask(reviews, answer["last"])["missed"]
    assert ask(reviews, 9000)["missed"]


def test_a_long_answer_comes_in_parts(out: Path) -> None:
    reviews = follow(out)
    for name in ("a.png", "b.png"):
        correct(out, {"source": name, "page": 1, "text": name * 150_000})
    first = ask(reviews)
    assert ([review["source"] for review in first["reviews"]], first["more"]) == (["a.png"], True)
    second = ask(reviews, first["last"])
    assert ([review["source"] for review in second["reviews"]], second["more"]) == (["b.png"], False)


def test_a_file_that_another_program_wrote_anew_is_followed_from_its_end(out: Path) -> None:
    reviews = follow(out)
    correct(out, {"source": "a.png", "page": 1, "text": "one"})
    seen = ask(reviews)["last"]
    line = encode_record(replace(plain_record("b.png", "b"), note="another"))
    (out / "results.jsonl").write_bytes(line)
    answer = ask(reviews, seen)
    assert (answer["missed"], answer["reviews"]) == (True, [])
    correct(out, {"source": "b.png", "page": 1, "text": "two"})
    answer = ask(reviews, answer["last"])
    assert (texts(answer), answer["missed"]) == (["two"], False)
