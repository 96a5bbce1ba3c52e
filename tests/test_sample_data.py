"""The sample pages match their README, and `make.py` renders them."""

import csv
import hashlib
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

SAMPLES = Path(__file__).parents[1] / "sample_data"
EXIF_PAGE = "photos/zh-minutes-exif6.jpg"
SIDEWAYS_PAGE = "journals/zh-journal-sideways.jpg"
ORIENTATION_TAG = 0x0112
# mean difference in grey levels: 0 with the fonts and the Pillow that rendered the pages; other releases may differ
RENDERING_TOLERANCE = 1.0

with (SAMPLES / "manifest.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
PATHS = [row["path"] for row in ROWS]


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """The script `make.py`, imported."""
    spec = importlib.util.spec_from_file_location("sample_data_make", SAMPLES / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def truth_of(path: str) -> str:
    """Return the true text of a page."""
    return (SAMPLES / "truth" / f"{path}.txt").read_text(encoding="utf-8")


def upright_size(path: str) -> tuple[int, int]:
    """Return a page's size in px after its EXIF orientation is applied."""
    with Image.open(SAMPLES / path) as image:
        return ImageOps.exif_transpose(image).size


def difference(left: Path, right: Path) -> float:
    """Return the mean difference of two images in grey levels; 255 when their sizes differ."""
    with Image.open(left) as a, Image.open(right) as b:
        if a.size != b.size:
            return 255.0
        return ImageStat.Stat(ImageChops.difference(a.convert("L"), b.convert("L"))).mean[0]


def test_the_manifest_names_every_page_once() -> None:
    images = {
        path.relative_to(SAMPLES).as_posix()
        for path in SAMPLES.rglob("*")
        if path.suffix in {".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"}
    }
    assert sorted(PATHS) == sorted(images)


def test_the_manifest_starts_with_path_collection_and_language() -> None:
    assert list(ROWS[0])[:3] == ["path", "collection", "language"]


def test_every_page_has_a_true_text_and_every_true_text_a_page() -> None:
    truths = {path.relative_to(SAMPLES / "truth").as_posix() for path in (SAMPLES / "truth").rglob("*.txt")}
    assert truths == {f"{path}.txt" for path in PATHS}


def test_only_the_blank_page_has_no_text() -> None:
    assert [path for path in PATHS if not truth_of(path)] == ["journals/blank-back.png"]


def test_no_true_text_contains_markup() -> None:
    assert not [path for path in PATHS if set("|#>\\\t") & set(truth_of(path))]


def test_the_readme_lists_every_page() -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path for path in PATHS if f"| `{path}` |" not in readme] == []


def test_there_are_12_to_20_pages_below_8_mb_in_all() -> None:
    assert 12 <= len(PATHS) <= 20
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 8_000_000


def test_the_pages_have_all_formats_that_are_sent_or_converted() -> None:
    formats = set()
    for path in PATHS:
        with Image.open(SAMPLES / path) as image:
            formats.add(image.format)
            assert getattr(image, "n_frames", 1) == 1
    assert formats == {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"}


def test_the_languages_are_chinese_english_both_and_none() -> None:
    assert {row["language"] for row in ROWS} == {"zh", "en", "en+zh", ""}


def test_exactly_one_page_has_a_duplicate() -> None:
    copies = Counter(hashlib.sha256((SAMPLES / path).read_bytes()).hexdigest() for path in PATHS)
    assert sorted(copies.values())[-2:] == [1, 2]


def test_exactly_one_page_is_above_the_services_largest_size() -> None:
    assert [path for path in PATHS if max(upright_size(path)) > 4000] == ["photos/en-wall-panel-large.jpg"]


def test_exactly_one_page_is_below_the_services_smallest_size() -> None:
    assert [path for path in PATHS if min(upright_size(path)) < 100] == ["labels/en-zh-box-label.png"]


def test_only_the_phone_photo_has_an_exif_orientation() -> None:
    tagged = {}
    for path in PATHS:
        with Image.open(SAMPLES / path) as image:
            if orientation := image.getexif().get(ORIENTATION_TAG):
                tagged[path] = orientation
    assert tagged == {EXIF_PAGE: 6}


@pytest.mark.parametrize("path", ["letters/en-letter.png", SIDEWAYS_PAGE, "labels/馆藏说明.png"])
def test_make_renders_the_committed_pages(path: str, make: ModuleType, tmp_path: Path) -> None:
    page = next(page for page in make.load_pages() if page.path == path)
    make.make_page(page, tmp_path)
    assert difference(tmp_path / path, SAMPLES / path) <= RENDERING_TOLERANCE
    assert (tmp_path / "truth" / f"{path}.txt").read_text(encoding="utf-8") == truth_of(path)
    make.make_page(make.Page(path=path, collection="", language="", title="", year=0, text=""), tmp_path)
    assert difference(tmp_path / path, SAMPLES / path) > RENDERING_TOLERANCE


def test_make_writes_the_same_bytes_twice(make: ModuleType, tmp_path: Path) -> None:
    page = next(page for page in make.load_pages() if page.path == "catalogue/zh-catalogue-card.webp")
    for name in ("one", "two"):
        make.make_page(page, tmp_path / name)
    assert (tmp_path / "one" / page.path).read_bytes() == (tmp_path / "two" / page.path).read_bytes()


def test_make_rotates_pixels_as_the_exif_tag_says(make: ModuleType, tmp_path: Path) -> None:
    """With its EXIF orientation applied, the photo equals the upright rendering."""
    page = next(page for page in make.load_pages() if page.path == EXIF_PAGE)
    upright = make.add_scan_effects(page, make.draw_ink(page))
    upright.save(tmp_path / "upright.png")
    with Image.open(SAMPLES / EXIF_PAGE) as stored:
        ImageOps.exif_transpose(stored).save(tmp_path / "stored.png")
    assert difference(tmp_path / "upright.png", tmp_path / "stored.png") < 5  # the loss of JPEG


def test_make_writes_the_committed_manifest(make: ModuleType, tmp_path: Path) -> None:
    make.write_manifest(make.load_pages(), tmp_path / "manifest.csv")
    assert (tmp_path / "manifest.csv").read_bytes() == (SAMPLES / "manifest.csv").read_bytes()


def test_the_error_for_a_missing_font_names_its_package(make: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    face = make.Face("/nowhere.ttf", "/nowhere.ttf", 0, "Nowhere", "fonts-nowhere")
    monkeypatch.setitem(make.FACES, "nowhere", face)
    with pytest.raises(make.MissingFontError, match="apt-get install fonts-nowhere"):
        make.load_font("nowhere", 20)


@pytest.mark.parametrize("text", ["wide " * 100, "tall\n" * 100, "left cell is too wide | x"], ids=lambda t: t[:4])
def test_text_that_exceeds_the_page_is_an_error(text: str, make: ModuleType) -> None:
    page = make.Page(path="x.png", collection="", language="", title="", year=0, text=text, size_px=(400, 400))
    with pytest.raises(make.OverfullPageError):
        make.draw_ink(page)
