"""Files that are made from the code: `config.example.toml` and parts of the documentation.

python -m tests.generated          # writes them
"""

import re
from pathlib import Path

from pipeline.config.render import example_file, settings_table
from pipeline.exit_codes import EXIT_CODES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "pipeline" / "docs"

_SETTINGS_HEAD = """\
# Settings

Precedence: flag > `PAGEMILL_*` environment > `--config` or `./pagemill.toml` > user configuration > default. In the
environment every key is `PAGEMILL_<SECTION>_<KEY>` (`PAGEMILL_BUDGET_TIER=pro`), and every flag `PAGEMILL_<FLAG>`
(`PAGEMILL_TIER=pro`), which goes first; lists are separated by commas. A key or variable that does not exist is an
error that names it. `pagemill config init` prints an example file, `config show` the values in force, `config check`
judges every source. Secrets are not settings: `PAGEMILL_API_KEY`, `PAGEMILL_OPERATOR_KEY`.

The user configuration is `~/.config/pagemill/config.toml`. Ledgers and keys are in `~/.local/state/pagemill`, or in
`PAGEMILL_STATE_DIR`. Flags of one run have variables, too: `PAGEMILL_CONFIG`, `PAGEMILL_LOCAL`, `PAGEMILL_NO_PROGRESS`,
`PAGEMILL_SWITCH_SERVICE`, `PAGEMILL_ACCEPT_LEDGER`, `PAGEMILL_PAY_AGAIN`.

"""


def generated_files() -> dict[Path, str]:
    """Return what each generated file must hold."""
    operations = (DOCS / "operations.md").read_text("utf-8")
    table = "| exit | meaning |\n|---|---|\n" + "\n".join(f"| {code} | {text} |" for code, text in EXIT_CODES.items())
    pattern = re.compile(r"(?<=## Exit codes\n\n).*?(?=\n\nWhere several apply)", re.DOTALL)
    return {
        ROOT / "config.example.toml": example_file(),
        DOCS / "settings.md": _SETTINGS_HEAD + settings_table(),
        DOCS / "operations.md": pattern.sub(lambda _: table, operations),
    }


if __name__ == "__main__":
    for path, text in generated_files().items():
        path.write_text(text, "utf-8")
