"""The accuracy benchmark: its seeds and its tables, on pages that fake engines read well, badly or not at all."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import accuracy
from tests.benchmarks.real_pages import find_pages
from tests.evaluation.groups import GROUPS, make_sample

RECEIPTS = next(group for group in GROUPS if group.name == "receipts")
TRUTHS = [make_sample(RECEIPTS, seed, 0).truth for seed in (1, 2)]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the benchmark on a receipt per seed; "ours" reads the first of two whole and nothing of the second."""

    def run(*arguments: str) -> str:
        texts = iter((TRUTHS[0], "", *[""] * accuracy.SEEDS))
        engines = {"ours": lambda: lambda _: next(texts), "shuffled": lambda: lambda _: TRUTHS[0][::-1]}
        monkeypatch.setattr(accuracy, "ENGINES", engines)
        monkeypatch.setattr(sys, "argv", ["accuracy", "--groups", "receipts$", "--pages", "1", *arguments])
        assert accuracy.main() == 0
        return capsys.readouterr().out

    return run


def rows(output: str, title: str) -> list[list[str]]:
    """Return the cells of a table's rows, the header first."""
    lines = output.partition(title)[2].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_a_cell_has_the_mean_and_the_worst_page(measure: Callable[..., str]) -> None:
    output = measure("--seeds", "1,2", "--engines", "ours")
    head, receipts, every = rows(output, "without white space: mean / worst page")
    sizes = [len("".join(truth.split())) for truth in TRUTHS]
    assert head == ["group", "pages", "letters", "ours"]
    assert receipts == ["receipts", "2", f"{sum(sizes):,}", f"{100 * sizes[1] / sum(sizes):.2f} / 100.0"]
    assert every == ["all", *receipts[1:]]


def test_the_order_free_table_tells_what_is_out_of_place_from_what_is_misread(measure: Callable[..., str]) -> None:
    output = measure("--seeds", "1", "--engines", "shuffled")
    assert rows(output, "when order does not count")[1][-1] == "0.00 / 0.0"
    assert float(rows(output, "without white space")[1][-1].split()[0]) > 50


def test_amounts_are_counted_and_the_worst_pages_can_be_found_again(measure: Callable[..., str]) -> None:
    output = measure("--seeds", "1,2", "--engines", "ours")
    missed, amounts = map(int, rows(output, "amounts missed")[1][-1].split(" of "))
    assert 0 < missed < amounts
    assert "- receipts, seed 2, page 0: 100.0 %" in output


def test_five_seeds_are_drawn_anew_each_time_and_printed(measure: Callable[..., str]) -> None:
    one, other = (measure("--engines", "ours").splitlines()[0] for _ in range(2))
    assert len(set(one.removeprefix("seeds ").split(","))) == 5
    assert one != other


def test_saved_pages_are_a_folder_for_the_benchmark_of_real_pages(measure: Callable[..., str], tmp_path: Path) -> None:
    measure("--seeds", "1", "--engines", "ours", "--save", str(tmp_path))
    (page,) = find_pages(tmp_path)
    assert (page.group, page.truth) == ("receipts", TRUTHS[0])
    assert (tmp_path / "receipts/1-0.ours.text").read_text("utf-8") == TRUTHS[0]


@pytest.mark.parametrize(
    "arguments", [("--seeds", "one"), ("--engines", "theirs"), ("--groups", "nothing"), ("--pages", "-1")]
)
def test_a_wrong_option_is_a_usage_error(measure: Callable[..., str], arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        measure(*arguments)
