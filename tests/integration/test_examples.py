"""Every example runs and prints what it promises."""

import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from walltrack import Event

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = {
    "any_client.py": "hello from api.example.com - after 3 attempts",
    "fastapi_app.py": "All three tests of the application passed.",
    "fleet.py": "a few failures open it everywhere, and one good probe closes it.",
    "game_day.py": "The layers held what they promise.",
    "testing.py": "All three tests passed, with no second waited.",
    "metrics.py": 'event="retry_scheduled",service="prices",detail="503"} 3',
    "per_tenant.py": "globex: refused at once\nacme: 200",
    "beneath_an_sdk.py": (
        "both: 8 requests\nmax_retries=0 in the SDK: 4 requests\n"
        "sole_retrier=True beneath it: 4 requests"
    ),
    "synchronous.py": "('503', 5) ('rejected, not sent', 35)",
    "tuning.py": "Choose threshold 20, cooldown 2 s.",
    "migrate_from_httpx_retries.py": "200 after 3 attempts",
    "health.py": '503 [\n  {\n    "key": "https://prices.example.com",',
    "migrate_from_tenacity.py": "the price is 71.25",
}
"""What each example prints, besides the two that have tests of their own."""


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a user does."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own examples


def test_the_quickstart_tells_its_story_in_time() -> None:
    """The quickstart ends well within 20 seconds, with all seven chapters told and no noise."""
    began = time.monotonic()
    ran = run("quickstart.py")
    assert ran.stderr == ""
    assert ran.returncode == 0
    assert time.monotonic() - began < 20
    assert ran.stdout.count("│") == 2 * 7
    assert ran.stdout.endswith("All of it really happened.\n")


def test_the_quickstart_fails_when_its_story_is_untrue(tmp_path: Path) -> None:
    """A quickstart whose service does not do as planned says so and exits with an error."""
    source = (EXAMPLES / "quickstart.py").read_text()
    spoilt = tmp_path / "spoilt.py"
    spoilt.write_text(source.replace("service.plans = [404]", "service.plans = [503, 404]"))
    ran = run(str(spoilt))
    assert ran.returncode == 1
    assert "That did not happen" in ran.stderr


@pytest.mark.parametrize(("name", "said"), RECIPES.items())
def test_an_example_runs(name: str, said: str) -> None:
    """The example prints what it promises, and on stderr nothing but the events of its layers."""
    ran = run(name)
    events = {event.name for event in get_args(Event)}
    assert {line.partition(" ")[0] for line in ran.stderr.splitlines()} <= events
    assert ran.returncode == 0
    assert said in ran.stdout


@pytest.mark.parametrize("outage", ["blackout", "brownout"])
def test_the_outage_is_reported_and_drawn(outage: str, tmp_path: Path) -> None:
    """The example prints a line for each client, and writes the picture that it names."""
    picture = tmp_path / "outage.svg"
    ran = run("outage.py", outage, "--seeds", "1", "--picture", str(picture))
    assert ran.stderr == ""
    assert ran.returncode == 0
    assert ran.stdout.count("of the calls succeeded") == 3
    assert ran.stdout.endswith(f"The picture is {picture}.\n")
    assert "<svg" in picture.read_text(encoding="utf-8")


def test_every_example_is_run_here() -> None:
    """No example is left without a test that runs it."""
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"quickstart.py", "outage.py", *RECIPES}


def test_the_index_names_every_example() -> None:
    """A reader of the index finds all of them."""
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"[{path.name}]({path.name})" in index
