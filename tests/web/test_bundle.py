"""Modules joined to one script, and the script in a browser from `file://`."""

import json
import re
from pathlib import Path

import pytest

from pipeline.web.assets import STATIC
from pipeline.web.bundle import bundle_modules
from tests.server.browser import launched

ENTRY = 'import { add } from "./sum.js";\nimport { one } from "./one.js";\n\ndocument.title = String(add(one, one));\n'
SUM = 'import { one } from "./one.js";\n\n/** Adds. */\nexport function add(a, b) {\n  return a + b + one - one;\n}\n'
ONE = "export const one = 1;\nlet unused = 2;\n"


def shared_modules() -> dict[str, str]:
    """Return the modules that the package shares."""
    return {file.name: file.read_text("utf-8") for file in STATIC.iterdir() if file.name.endswith(".js")}


def test_modules_come_after_those_that_they_import_and_once() -> None:
    script = bundle_modules("entry.js", {"entry.js": ENTRY, "sum.js": SUM, "one.js": ONE, "other.js": "let other;\n"})
    assert re.findall(r"^// (.*)$", script, re.MULTILINE) == ["one.js", "sum.js", "entry.js"]
    assert re.search(r"^(import|export)\b", script, re.MULTILINE) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"one.js": ONE + "function add() {}\n"}, "one.js and sum.js both declare add", id="one-name-twice"
        ),
        pytest.param(
            {"one.js": ONE + "const { add, b } = {};\n"}, "both declare add", id="one-name-twice-destructured"
        ),
        pytest.param({"one.js": "export default 1;\n"}, "one.js exports no one|cannot bundle", id="default-export"),
        pytest.param(
            {"one.js": ONE + "export { unused };\n"}, r"one.js: cannot bundle: export \{ unused \}", id="list"
        ),
        pytest.param({"entry.js": ENTRY.replace("{ one }", "{ one as two }")}, "exports no one as two", id="renamed"),
        pytest.param(
            {"entry.js": ENTRY.replace("{ one }", "{ unused }")}, "one.js exports no unused", id="not-exported"
        ),
        pytest.param({"entry.js": 'import "./one.js";\n'}, 'cannot bundle: import "./one.js"', id="import-for-effect"),
        pytest.param({"one.js": f'import {{ add }} from "./sum.js";\n{ONE}'}, "which imports it", id="cycle"),
        pytest.param({"entry.js": ENTRY.replace("one.js", "two.js")}, "no module two.js", id="missing"),
    ],
)
def test_what_cannot_be_joined_is_refused(changed: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bundle_modules("entry.js", {"entry.js": ENTRY, "sum.js": SUM, "one.js": ONE} | changed)


async def test_the_shared_modules_run_from_a_file(tmp_path: Path) -> None:
    """They are one script together; its names are not the page's."""
    names = {"Lines": "lines.js", "Viewer": "viewer.js", "visible": "names.js", "copyText": "clipboard.js"}
    entry = "".join(f'import {{ {name} }} from "./{file}";\n' for name, file in names.items())
    entry += "\nnew Viewer(document.body);\ndocument.title = typeof Lines;\n"
    (tmp_path / "all.js").write_text(bundle_modules("entry.js", shared_modules() | {"entry.js": entry}), "utf-8")
    (tmp_path / "page.html").write_text('<!doctype html><body><script src="all.js"></script>', "utf-8")
    errors: list[str] = []
    async with launched(tmp_path / "home") as browser:
        page = await browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto((tmp_path / "page.html").as_uri())
        assert await page.title() == "function"
        assert await page.get_by_role("button").count() == 4
        assert json.loads(await page.evaluate("JSON.stringify([typeof Viewer, typeof element])")) == ["undefined"] * 2
        await page.close()
    assert errors == []
