"""Static files of the package."""

from pathlib import Path

import pytest

from pipeline.web.assets import STATIC, load_assets


def test_each_file_has_its_type_and_a_version_made_from_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_bytes(b"1;\n")
    before = load_assets(tmp_path)["a.js"]
    (tmp_path / "a.js").write_bytes(b"2;\n")
    after = load_assets(tmp_path)["a.js"]
    assert (before.media_type, before.body) == ("text/javascript", b"1;\n")
    assert before.tag != after.tag


def test_two_folders_may_not_have_files_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "style.css").touch()
    with pytest.raises(ValueError, match=r"style\.css"):
        load_assets(STATIC, tmp_path)
