"""What the README promises: blocks that run, links that lead somewhere, defaults of the code."""

import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

import walltrack
from walltrack import (
    Backoff,
    BaseAPIClient,
    CircuitBreakerTransport,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    Settings,
    WaitingRoomTransport,
    resilient_transport,
)
from walltrack.services.defaults import breaker_by, policy_by
from walltrack.simulation import KINDS, STANDARD, command

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FAILURES = ROOT / "tests" / "README.md"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / ".github" / "SECURITY.md",
    ROOT / "examples" / "README.md",
    FAILURES,
    ROOT / "tests" / "benchmarks" / "README.md",
]
WORDS = [
    "installation",
    "quickstart",
    "retries",
    "circuit breaker",
    "timeouts",
    "rate limiting",
    "bulkhead",
    "hedging",
    "logging",
    "metrics",
    "testing",
    "performance",
    "comparison",
    "faq",
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line of {len(block)} characters")
def test_a_block_of_the_readme_runs(block: str) -> None:
    """The block runs without a warning against a service that works."""
    with respx.mock(assert_all_called=False) as service:
        service.route(host="api.example.com").respond(json={"usd": 71.25})
        exec(compile(block, str(README), "exec"), {"__name__": "__main__"})  # noqa: S102 - our own


def test_the_readme_has_blocks() -> None:
    """The blocks are found: a README that was rewritten beyond recognition is not passed over."""
    assert len(BLOCKS) >= 5


def test_the_quickstart_prints_what_the_readme_shows() -> None:
    """Its log and its output, on a program that configured no logging."""
    shown = re.search(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-W", "error", "-c", BLOCKS[0]]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - our own
    assert shown is not None
    assert ran.stderr + ran.stdout == shown[1]


def test_a_command_names_what_is_there() -> None:
    """The files, modules, extras and groups of the commands on all pages exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = {
        "extra": project["project"]["optional-dependencies"],
        "group": project["dependency-groups"],
    }
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    lines = re.findall(r"uv run [^`#\n]+|python -m [^`#\n]+", text)
    assert len(lines) > 15
    for line in lines:
        for option, name in re.findall(r"--(extra|group) (\S+)", line):
            assert name in known[option], line
        for path in re.findall(r"(?:examples|tests)/[\w/.]+", line):
            assert (ROOT / path).exists(), line
        for module in re.findall(r"(?:walltrack|tests)\.[\w.]+", line):
            assert importlib.util.find_spec(module), line


def test_the_commands_of_a_simulation_are_understood() -> None:
    """Their scenarios and options are those of the command."""
    lines = re.findall(r"^python -m walltrack\.simulation ([^#\n]+)", TEXT, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        options = command.argument_parser().parse_args(line.split())
        assert options.scenario[0] in {*KINDS, "standard", "friday.toml"}
    assert f"# all {len(STANDARD)} standard scenarios" in TEXT


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    """They are measured once, and stand beside the command that measures them."""
    section = TEXT.partition("## Performance\n")[2].partition("\n## ")[0]
    measured = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    figures = re.findall(r"\b\d+\.\d+\b(?! s)", section.replace("Python 3.11", ""))
    assert len(figures) >= 12
    for figure in figures:
        assert re.search(rf"\b{re.escape(figure)}\b", measured), figure


def test_the_readme_is_short() -> None:
    """Its length is limited, so that it can be read in one sitting."""
    assert len(TEXT.splitlines()) <= 300


@pytest.mark.parametrize("word", WORDS)
def test_a_heading_has_the_word_that_people_search_for(word: str) -> None:
    """Headings use the terms of the field."""
    headings = [line.lower() for line in TEXT.splitlines() if line.startswith("## ")]
    assert any(word in heading for heading in headings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    """A link is a public address, a heading of its page, or a file of this repository."""
    text = page.read_text(encoding="utf-8")
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    anchors = {"#" + re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}
    for link in LINK.findall(text):
        assert link.startswith("https://") or link in anchors or (page.parent / link).exists(), link


def test_a_test_that_is_named_is_there() -> None:
    """A promise that is linked to its test stays linked to it."""
    links = re.findall(r"\[(test_\w+)\]\(([\w/]+\.py)\)", FAILURES.read_text("utf-8"))
    assert len(links) >= 30
    for name, path in links:
        source = (FAILURES.parent / path).read_text(encoding="utf-8")
        assert f"def {name}(" in source, name


def test_the_settings_of_the_readme_are_those_of_the_class() -> None:
    """With their names and defaults, in their order."""
    shown = re.findall(r"`([A-Z_]{8,})`\s\(([\w.]+)\)", TEXT)
    fields = Settings.model_fields.items()
    assert shown == [(name.upper(), str(field.default)) for name, field in fields]


def test_every_stop_reason_and_event_is_named() -> None:
    """A reader of the log finds each word of it in the README."""
    events = [event.name for event in walltrack.Event.__args__]
    for name in [*walltrack.StopReason, *events]:
        assert f"`{name}`" in TEXT


def default(owner: object, argument: str) -> object:
    """The default of an argument."""
    signature = inspect.signature(owner)  # type: ignore[arg-type]
    return signature.parameters[argument].default


def waits(backoff: Backoff, retries: int) -> str:
    """The waits before each retry, as the table shows them."""
    jitter = "" if backoff.jitter == "none" else f"; {backoff.jitter} jitter"
    return ", ".join(f"{backoff.ceiling(retry):g}" for retry in range(retries)) + jitter


def retry_cells(policy: RetryPolicy) -> list[str]:
    """What the table shows of a policy."""
    return [
        str(policy.max_retries),
        waits(policy.backoff, policy.max_retries),
        f"{policy.max_retry_after:g}",
        policy.non_idempotent,
    ]


def cells(policy: object, budget: object, breaker: dict[str, Any]) -> list[str]:
    """The column of one way to use the library, but for what is off."""
    assert isinstance(policy, RetryPolicy)
    capacity = f"{budget.balance:g}" if isinstance(budget, RetryBudget) else "none"
    cooldowns = {f"{breaker[name]:g}": None for name in ("cooldown", "longest_cooldown")}
    lasting = f", for {seconds:g} s" if (seconds := breaker["failing_seconds"]) else ""
    return [
        *retry_cells(policy),
        capacity,
        f"{breaker['failure_threshold']}{lasting}",
        " to ".join(cooldowns),
    ]


def breaker_of(stack: object) -> dict[str, Any]:
    """The settings of the circuit breakers in a stack."""
    [settings] = [
        layer["settings"]
        for layer in walltrack.snapshot(stack)["layers"]
        if layer["layer"] == "CircuitBreakerTransport"
    ]
    return dict(settings)


@pytest.fixture(scope="module")
def columns() -> dict[str, list[str]]:
    """The columns of the table of defaults by the code."""
    inner = httpx.MockTransport(lambda _: httpx.Response(200))
    settings = Settings()
    of_a_client = CircuitBreakerTransport(inner, breaker=breaker_by(settings, "s"))
    return {
        "layer class": cells(
            default(RetryTransport, "policy"),
            default(RetryTransport, "budget"),
            breaker_of(CircuitBreakerTransport(inner)),
        ),
        "`resilient_transport()`": cells(
            default(resilient_transport, "retry"),
            default(resilient_transport, "budget"),
            breaker_of(resilient_transport(inner)),
        ),
        "`BaseAPIClient`": cells(policy_by(settings), RetryBudget(), breaker_of(of_a_client)),
    }


def table() -> dict[str, list[str]]:
    """The columns of the table of defaults as the README shows them."""
    section = TEXT.partition("## Defaults\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: [row[at] for row in rows] for at, name in enumerate(header)}


@pytest.mark.parametrize("column", ["layer class", "`resilient_transport()`", "`BaseAPIClient`"])
def test_a_default_of_the_table_is_that_of_the_code(
    column: str, columns: dict[str, list[str]]
) -> None:
    """The rows of retries and the breaker show what each way to use the library does."""
    shown = dict(zip(table()["setting"], table()[column], strict=True))
    rows = [
        "retries after the first attempt",
        "wait before a retry (s)",
        "longest `Retry-After` waited for (s)",
        "POST and PATCH",
        "retry budget of an origin",
        "failures in a row that open a circuit",
        "cooldown before a probe (s)",
    ]
    assert [shown[row] for row in rows] == columns[column]


@pytest.mark.parametrize(
    ("row", "option"),
    [
        ("deadline", "deadline"),
        ("attempt timeout (s)", "attempt_timeout"),
        ("requests per second", "rate_limit"),
        ("requests in flight", "concurrency_limit"),
        ("hedge after", "hedge"),
        ("wait for an open circuit (s)", "waiting_room"),
        ("bodies read inside the attempt", "body"),
    ],
)
def test_what_is_off_is_off_in_the_code(row: str, option: str) -> None:
    """The other rows show the defaults of the options."""
    shown = table()
    at = next(at for at, setting in enumerate(shown["setting"]) if row in setting)
    value = default(resilient_transport, option)
    names: dict[object, str] = {
        None: "none",
        RateLimitTransport: "announced",
        WaitingRoomTransport: "10",
    }
    assert shown["`resilient_transport()`"][at] == names.get(value, str(value))
    if option in inspect.signature(BaseAPIClient).parameters:
        assert default(BaseAPIClient, option) is None
        assert shown["`BaseAPIClient`"][at] == "none"
