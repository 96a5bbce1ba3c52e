"""Settings: which of five places wins, and errors that name the place and the key."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from pipeline.config import TIER_CALLS, ApiConfig, Config, Overrides, load_config, parse_duration
from pipeline.config.database_url import is_database_url, without_password
from pipeline.config.reflection import all_settings
from pipeline.errors import UsageError
from pipeline.remote.endpoint import read_key

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"
KEY = "sk-a-secret-key"


def write(path: Path, text: str) -> Path:
    """Write a file, with its directory, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def fail(path: Path, text: str) -> str:
    """Return the message with which a file of this content is refused."""
    write(path, text)
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


class TestPrecedence:
    """Flag > environment > file > user's file > default."""

    @pytest.mark.parametrize(
        ("places", "jobs"),
        [
            pytest.param((5, 4, 3, 2), 5, id="flag-wins"),
            pytest.param((None, 4, 3, 2), 4, id="environment-before-files"),
            pytest.param((None, None, 3, 2), 3, id="file-before-the-users"),
            pytest.param((None, None, None, 2), 2, id="users-file-before-the-default"),
            pytest.param((None, None, None, None), 8, id="default"),
            pytest.param((5, None, None, 2), 5, id="flag-over-the-users-file"),
        ],
    )
    def test_the_nearer_place_wins(
        self, tmp_path: Path, places: tuple[int | None, int | None, int | None, int | None], jobs: int
    ) -> None:
        """Each place needs to say only what it changes."""
        flag, environment, file, user = places
        if user is not None:
            write(tmp_path / "user" / "config.toml", f"[run]\njobs = {user}\nretries = 7\n")
        path = write(tmp_path / "here.toml", f"[run]\njobs = {file}\n") if file is not None else None
        config = load_config(
            path,
            flags={("run", "jobs"): flag},
            environ={} if environment is None else {"PAGEMILL_RUN_JOBS": str(environment)},
            user_dir=tmp_path / "user",
        )
        assert config.run.jobs == jobs
        assert config.run.retries == (2 if user is None else 7)

    def test_the_file_in_the_working_directory_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`./pagemill.toml` needs no flag."""
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "pagemill.toml", "[run]\njobs = 3\n")
        assert load_config().run.jobs == 3

    def test_a_named_file_replaces_the_one_in_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`--config` means this file, not that one too."""
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "pagemill.toml", "[run]\njobs = 3\nretries = 9\n")
        config = load_config(write(tmp_path / "other.toml", "[run]\njobs = 4\n"))
        assert (config.run.jobs, config.run.retries) == (4, 2)

    def test_without_any_file_all_is_default(self, tmp_path: Path) -> None:
        """The users' directory need not exist."""
        assert load_config(user_dir=tmp_path / "nowhere") == Config()

    def test_only_the_given_environment_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment is an argument, never read behind the caller's back."""
        monkeypatch.setenv("PAGEMILL_RUN_JOBS", "3")
        assert load_config().run.jobs == 8

    @pytest.mark.parametrize(
        ("name", "value", "section", "key", "expected"),
        [
            pytest.param("PAGEMILL_BUDGET_TIER", "pro", "budget", "tier", "pro", id="choice"),
            pytest.param("PAGEMILL_API_TIMEOUT_S", "2.5", "api", "timeout_s", 2.5, id="number"),
            pytest.param("PAGEMILL_RUN_AT_MOST_ONCE", "true", "run", "at_most_once", True, id="true"),
            pytest.param("PAGEMILL_PREPARE_ORIENT", "0", "prepare", "orient", False, id="zero-is-false"),
            pytest.param("PAGEMILL_SKIP_BLANK", "off", "prepare", "skip_blank", False, id="off-by-the-flags-variable"),
            pytest.param("PAGEMILL_DEDUP", "off", "prepare", "dedup", "off", id="off-as-a-choice"),
            pytest.param("PAGEMILL_TIER", "pro", "budget", "tier", "pro", id="flags-variable"),
            pytest.param("PAGEMILL_INPUT_INCLUDE", "*.tif,a/*", "input", "include", ("*.tif", "a/*"), id="list"),
            pytest.param("PAGEMILL_INPUT_EXCLUDE", "", "input", "exclude", (), id="empty-list"),
            pytest.param("PAGEMILL_API_KEY_FILE", "/run/key", "api", "key_file", Path("/run/key"), id="path"),
            pytest.param("PAGEMILL_RUN_MAX_DURATION", "8h", "run", "max_duration", "8h", id="duration"),
        ],
    )
    def test_every_kind_of_value_can_come_from_the_environment(
        self, name: str, value: str, section: str, key: str, expected: object
    ) -> None:
        """Texts become what the key needs."""
        assert getattr(getattr(load_config(environ={name: value}), section), key) == expected


class TestErrors:
    """An error names the place and the key."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("[run]\njob = 3\n", "unknown key 'job' in [run]; did you mean 'jobs'?", id="key"),
            pytest.param("[budget]\nteir = 'pro'\n", "unknown key 'teir' in [budget]; did you mean 'tier'?", id="typo"),
            pytest.param("[run]\nzzz = 3\n", "unknown key 'zzz' in [run]", id="key-like-no-other"),
            pytest.param("[runn]\njobs = 3\n", "unknown section '[runn]'", id="section"),
            pytest.param("jobs = 3\n", "unknown key 'jobs' outside the sections", id="outside"),
            pytest.param("[run]\njobs = 0\n", "run.jobs: Expected `int` >= 1", id="too-small"),
            pytest.param("[run]\njobs = 'many'\n", "run.jobs: Expected `int`, got `str`", id="no-number"),
            pytest.param("[run]\njobs = true\n", "run.jobs: Expected `int`, got `bool`", id="boolean"),
            pytest.param("[budget]\ntier = 'gold'\n", "budget.tier: Invalid enum value 'gold'", id="no-such-tier"),
            pytest.param("[budget]\nreset_day = 29\n", "budget.reset_day: Expected `int` <= 28", id="day-29"),
            pytest.param("[budget]\nquota = -1\n", "budget.quota: Expected `int` >= 0", id="negative"),
            pytest.param("[budget]\ntimezone = 'Mars/Base'\n", "budget.timezone: no time zone 'Mars/Base'", id="zone"),
            pytest.param("[budget]\ntimezone = 'Europe'\n", "budget.timezone: no time zone 'Europe'", id="directory"),
            pytest.param("[budget]\ntimezone = '../UTC'\n", "budget.timezone: no time zone '../UTC'", id="zone-path"),
            pytest.param("[api]\ntimeout_s = 0\n", "api.timeout_s: Expected `float` > 0.0", id="zero-seconds"),
            pytest.param("[api]\ntimeout_s = nan\n", "api.timeout_s: Expected `float`", id="nan-seconds"),
            pytest.param("[api]\ntimeout_s = inf\n", "api.timeout_s: Expected `float` <", id="infinite-seconds"),
            pytest.param("[api]\nkey_file = 3\n", "api.key_file: Expected a path", id="no-path"),
            pytest.param("[input]\ninclude = '*.tif'\n", "input.include: Expected `array`, got `str`", id="no-list"),
            pytest.param("[input]\ninclude = [1]\n", "input.include[0]: Expected `str`, got `int`", id="numbers"),
            pytest.param("[run]\nmax_duration = 'soon'\n", "run.max_duration: 'soon' is no duration", id="duration"),
            pytest.param(
                "[prepare]\nmin_edge_px = 500\nmax_edge_px = 400\n",
                "prepare.min_edge_px is above prepare.max_edge_px",
                id="limits-crossed",
            ),
            pytest.param("[prepare]\ndedup = true\n", "prepare.dedup: true is called 'content' since 0.3", id="former"),
            pytest.param("[prepare]\ndedup = false\n", "prepare.dedup: false is called 'off'", id="former-off"),
            pytest.param("[prepare]\ndedup = 'all'\n", "prepare.dedup: Invalid enum value 'all'", id="no-such-dedup"),
            pytest.param(
                "[input]\nexclude_kinds = ['gif', 'jpg']\n",
                "input.exclude_kinds: no kind 'jpg'; the kinds are jpeg, png,",
                id="no-such-kind",
            ),
            pytest.param("[run\n", "not TOML", id="no-toml"),
        ],
    )
    def test_a_mistake_in_a_file_names_file_and_key(self, tmp_path: Path, text: str, said: str) -> None:
        """The message is enough to mend it."""
        path = tmp_path / "wrong.toml"
        assert fail(path, text).startswith(f"{path}: {said}")

    def test_bytes_that_are_no_text_are_no_toml(self, tmp_path: Path) -> None:
        """A file in another encoding is refused, not guessed at."""
        path = tmp_path / "latin.toml"
        path.write_bytes(b"[api]\nurl = '\xe9'\n")
        with pytest.raises(UsageError, match=r"latin\.toml: not TOML"):
            load_config(path)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        """A `--config` that does not exist is not ignored."""
        with pytest.raises(UsageError, match=r"missing\.toml: No such file"):
            load_config(tmp_path / "missing.toml")

    @pytest.mark.parametrize(
        ("flags", "environ", "said"),
        [
            pytest.param({("run", "jobs"): 0}, {}, "command line: run.jobs: ", id="flag"),
            pytest.param({}, {"PAGEMILL_RUN_JOBS": "x"}, "environment: run.jobs: ", id="environment"),
            pytest.param({}, {"PAGEMILL_BUDGET_TIMEZONE": "x"}, "environment: budget.timezone: ", id="zone"),
        ],
    )
    def test_a_mistake_elsewhere_names_its_place(self, flags: Overrides, environ: dict[str, str], said: str) -> None:
        """Even when a file is right."""
        write(Path("pagemill.toml"), "[run]\njobs = 3\n")
        with pytest.raises(UsageError, match=f"^{re.escape(said)}"):
            load_config(flags=flags, environ=environ)

    def test_a_mistake_in_the_users_file_is_not_blamed_on_another(self, tmp_path: Path) -> None:
        """Even when a flag would have hidden it."""
        user_file = write(tmp_path / "config.toml", "[run]\njobs = 0\n")
        with pytest.raises(UsageError, match=f"^{re.escape(str(user_file))}: run.jobs"):
            load_config(flags={("run", "jobs"): 4}, user_dir=tmp_path)


class TestValues:
    """What values mean."""

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            pytest.param(90, 90, id="number"),
            pytest.param(0.5, 0.5, id="fraction"),
            pytest.param("90", 90, id="text"),
            pytest.param("90s", 90, id="seconds"),
            pytest.param("90m", 5400, id="minutes"),
            pytest.param(" 1.5 H ", 5400, id="hours-with-space"),
            pytest.param("2d", 172_800, id="days"),
        ],
    )
    def test_a_duration_is_a_number_with_or_without_a_unit(self, value: float | str, seconds: float) -> None:
        """Seconds, minutes, hours, days."""
        assert parse_duration(value) == seconds
        assert load_config(flags={("run", "max_duration"): value}).run.max_duration_s == seconds

    @pytest.mark.parametrize(
        "value", ["", "m", "0", "-1", "0h", "-5m", "inf", "nan", "1e999", "1 h 30 m", "90min", "h8"]
    )
    def test_what_is_no_duration_is_refused(self, value: str) -> None:
        """Nothing is guessed, and nothing lasts forever."""
        with pytest.raises(ValueError, match=r"duration|float"):
            parse_duration(value)

    def test_without_a_duration_there_is_no_end(self) -> None:
        """The default run ends when it is done."""
        assert Config().run.max_duration_s is None

    @pytest.mark.parametrize(
        ("budget", "limit"),
        [
            pytest.param("", None, id="neither"),
            pytest.param("tier = 'free'", 30, id="free"),
            pytest.param("tier = 'basic'", 1_000, id="basic"),
            pytest.param("tier = 'pro'", 5_000, id="pro"),
            pytest.param("tier = 'ultra'", None, id="ultra-is-unlimited"),
            pytest.param("tier = 'pro'\nquota = 70", 70, id="quota-instead-of-a-tier"),
            pytest.param("quota = 0", 0, id="quota-of-zero"),
            pytest.param("tier = 'free'\nkeep_for_others = 10", 20, id="kept-for-others"),
            pytest.param("tier = 'free'\nkeep_for_others = 50", 0, id="kept-beyond-the-plan"),
            pytest.param("keep_for_others = 50", None, id="kept-of-nothing"),
        ],
    )
    def test_the_limit_is_the_plan_less_the_reserve(self, tmp_path: Path, budget: str, limit: int | None) -> None:
        """The contract's tiers; a quota goes before a tier."""
        assert load_config(write(tmp_path / "c.toml", f"[budget]\n{budget}\n")).budget.limit == limit

    def test_every_tier_is_offered(self) -> None:
        """The contract's four."""
        assert list(TIER_CALLS) == ["free", "basic", "pro", "ultra"]


class TestKey:
    """Where the API key comes from."""

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            pytest.param({"PAGEMILL_API_KEY": "a", "LLMOCR_API_KEY": "b"}, "a", id="ours-first"),
            pytest.param({"LLMOCR_API_KEY": "b"}, "b", id="the-vendors"),
            pytest.param({"PAGEMILL_API_KEY": "", "LLMOCR_API_KEY": "b"}, "b", id="empty-is-unset"),
            pytest.param({"PAGEMILL_API_KEY": " a\n"}, "a", id="space-around"),
            pytest.param({"LLMOCR_API_KEY": ""}, None, id="empty-is-none"),
            pytest.param({}, None, id="none"),
        ],
    )
    def test_the_environment_gives_the_key(self, environ: Mapping[str, str], expected: str | None) -> None:
        """A variable that is set to nothing is as good as unset."""
        assert read_key(ApiConfig(), environ) == expected

    def test_a_file_gives_the_key(self, tmp_path: Path) -> None:
        """Without the newline that editors add."""
        assert read_key(ApiConfig(key_file=write(tmp_path / "key", f"{KEY}\n")), {}) == KEY

    def test_a_file_in_the_home_directory_gives_the_key(self) -> None:
        """`~` is the home directory."""
        write(Path.home() / "key", KEY)
        assert read_key(ApiConfig(key_file=Path("~/key")), {}) == KEY

    def test_a_command_gives_the_key(self, tmp_path: Path) -> None:
        """Its arguments are split as a shell would, but no shell is started."""
        path = write(tmp_path / "a key; true", KEY)
        assert read_key(ApiConfig(key_command=f"cat '{path}'"), {}) == KEY

    def test_a_file_goes_before_a_command_and_the_environment_before_both(self, tmp_path: Path) -> None:
        """The command is not even run."""
        ran = tmp_path / "ran"
        api = ApiConfig(key_file=write(tmp_path / "key", KEY), key_command=f"touch '{ran}'")
        assert read_key(api, {"PAGEMILL_API_KEY": "a"}) == "a"
        assert read_key(api, {"PAGEMILL_API_KEY": ""}) == KEY
        assert not ran.exists()

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            pytest.param("no-such-command-xyz", "key_command: FileNotFoundError", id="no-such-command"),
            pytest.param("sh -c 'echo secret; exit 3'", "key_command: exit status 3", id="fails"),
            pytest.param("'unclosed", "key_command: ValueError", id="unclosed-quote"),
            pytest.param("", "key_command: IndexError", id="empty-command"),
            pytest.param("true", "key_command: not an API key", id="prints-nothing"),
            pytest.param("echo secret two", "key_command: not an API key", id="prints-two-words"),
            pytest.param(r"printf 'secret\377'", "key_command: UnicodeDecodeError", id="prints-no-text"),
            pytest.param(r"printf 'secret\nsecret'", "key_command: not an API key", id="prints-two-lines"),
        ],
    )
    def test_a_command_that_gives_no_key_says_so(self, command: str, said: str) -> None:
        """Without repeating what it printed."""
        with pytest.raises(UsageError, match=rf"^{said}") as caught:
            read_key(ApiConfig(key_command=command), {})
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            pytest.param(None, "cannot read the API key: No such file", id="missing"),
            pytest.param(b"", "not an API key", id="empty"),
            pytest.param(b"secret\0", "not an API key", id="control-character"),
            pytest.param(b"secret\xff", "cannot read the API key: 'utf-8' codec", id="no-text"),
        ],
    )
    def test_a_file_that_gives_no_key_is_named(self, tmp_path: Path, content: bytes | None, said: str) -> None:
        """Without repeating what is in it."""
        path = tmp_path / "key"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=f"^{re.escape(str(path))}: {said}") as caught:
            read_key(ApiConfig(key_file=path), {})
        assert "secret" not in str(caught.value)

    def test_a_wrong_key_in_the_environment_is_not_repeated(self) -> None:
        """The message names the place only."""
        with pytest.raises(UsageError, match=r"^the environment: not an API key") as caught:
            read_key(ApiConfig(), {"PAGEMILL_API_KEY": "secret two"})
        assert "secret" not in str(caught.value)


class TestExample:
    """`config.example.toml` is the reference of all settings."""

    def test_it_loads_as_it_stands_and_changes_nothing(self) -> None:
        """Copying it is a safe start."""
        assert load_config(EXAMPLE) == Config()

    def test_it_names_every_key_and_no_other(self) -> None:
        """A key stands there with its default, or as a comment when it has none."""
        settings = [(setting.section, setting.key) for setting in all_settings().values()]
        assert [(section, key) for section, key, _ in example_lines()] == settings

    def test_its_values_are_the_defaults(self) -> None:
        """A line that is no comment says what the program does without it."""
        tables = tomllib.loads(EXAMPLE.read_text("utf-8"))
        defaults = {
            section: {name: value for name, value in table.items() if value is not None}
            for section, table in msgspec.json.decode(msgspec.json.encode(Config())).items()
        }
        assert tables == defaults

    def test_its_commented_values_are_valid_and_have_no_default(self, tmp_path: Path) -> None:
        """Taking the comment sign away gives a file that loads."""
        commented = [(section, key) for section, key, is_comment in example_lines() if is_comment]
        assert all(getattr(getattr(Config(), section), key) is None for section, key in commented)
        text = re.sub(r"(?m)^# (?=[a-z_]+ = )", "", EXAMPLE.read_text("utf-8"))
        config = load_config(write(tmp_path / "all.toml", text))
        assert all(getattr(getattr(config, section), key) is not None for section, key in commented)


def example_lines() -> list[tuple[str, str, bool]]:
    """Return (section, key, is a comment) of every `key = value` line of the example."""
    found, section = [], ""
    for line in EXAMPLE.read_text("utf-8").splitlines():
        if heading := re.fullmatch(r"\[([a-z]+)\]", line):
            section = heading[1]
        elif setting := re.match(r"(# )?([a-z_]+) = ", line):
            found.append((section, setting[2], setting[1] is not None))
    return found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("postgresql://u:pw@h:5432/d", "postgresql://u@h:5432/d", id="user"),
        pytest.param("postgres://u:p%40w@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require", id="query"),
        pytest.param("postgresql://h/d?user=u&password=pw", "postgresql://h/d?user=u", id="password-in-query"),
        pytest.param("postgresql://u:pw@h1:1,h2:2/d", "postgresql://u@h1:1,h2:2/d", id="several-hosts"),
        pytest.param("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql", id="socket"),
        pytest.param("postgresql://u:p[w@h/d", "postgresql://(not a URL)", id="no-url"),
        pytest.param("/var/lib/ledger", "/var/lib/ledger", id="directory"),
    ],
)
def test_the_password_of_a_ledgers_database_is_never_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
    config = msgspec.convert({"budget": {"ledger": text}}, Config)
    assert config.without_secrets()["budget"]["ledger"] == shown
    assert is_database_url(text) == (text[0] == "p")
