"""Answers that can be looked up again."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.api.documents import Documents


def test_an_answer_is_found_by_its_caller_alone() -> None:
    """The id is no secret, the text is."""
    documents = Documents()
    documents.keep("anna", "1", b"text")
    assert documents.find("anna", "1") == b"text"
    assert documents.find("ben", "1") is None
    assert documents.find("anna", "2") is None


def test_the_oldest_makes_room() -> None:
    """By number, whoever's it is."""
    documents = Documents(at_most=2)
    for i in range(3):
        documents.keep(f"caller {i}", str(i), b"text")
    assert [documents.find(f"caller {i}", str(i)) for i in range(3)] == [None, b"text", b"text"]
    assert repr(documents) == "<Documents 2, 8 bytes>"


def test_an_answer_larger_than_all_room_is_not_kept() -> None:
    """And the store goes on with nothing in it."""
    documents = Documents(max_bytes=4)
    documents.keep("anna", "1", b"text!")
    assert len(documents) == 0
    documents.keep("anna", "2", b"text")
    assert documents.find("anna", "2") == b"text"


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 10), st.integers(1, 100))
def test_the_room_is_never_exceeded(answers: list[bytes], at_most: int, max_bytes: int) -> None:
    """The kept ones are the latest of those that fit, and their sizes add up."""
    documents = Documents(at_most, max_bytes)
    for i, answer in enumerate(answers):
        documents.keep("anna", str(i), answer)
        kept = [documents.find("anna", str(j)) for j in range(i + 1)]
        found = [one for one in kept if one is not None]
        assert len(found) == len(documents) <= at_most
        assert sum(map(len, found)) <= max_bytes
        fitting = [one for one, answer in zip(kept, answers, strict=False) if len(answer) <= max_bytes]
        assert fitting[len(fitting) - len(found) :] == found
