"""What the package index shows, and what is installed."""

import contextlib
import re
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from hatchling import build
from readme_renderer import markdown

import walltrack

ROOT = Path(__file__).parents[2]
LAYERS = [
    "retry",
    "circuit breaker",
    "timeout",
    "deadline",
    "rate limiting",
    "concurrency limit",
    "hedging",
    "httpx",
]
INFORMATION = f"walltrack-{walltrack.__version__}.dist-info"
VERSION = "Programming Language :: Python :: 3."


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    with contextlib.chdir(ROOT):
        built = build.build_wheel(str(folder))
    with zipfile.ZipFile(folder / built) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    """What the index knows of it."""
    return message_from_bytes(wheel[f"{INFORMATION}/METADATA"])


@pytest.fixture(scope="module")
def page(metadata: Message) -> str:
    """Its description as the index renders it."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    rendered = markdown.render(str(metadata.get_payload()))
    assert rendered is not None
    return rendered


def test_the_description_renders_as_the_readme(page: str) -> None:
    """It has all headings, code and tables of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page.count("<h2") == len(re.findall("^## ", readme, re.MULTILINE))
    assert page.count("<pre") == len(re.findall("^```[a-z]", readme, re.MULTILINE))
    assert page.count("<table") == len(re.findall(r"^\|-", readme, re.MULTILINE))


def test_every_link_of_the_description_leads_somewhere(page: str) -> None:
    """Each link is absolute or leads to a heading, since the index has no other file."""
    anchors = set(re.findall(r'id="([^"]+)"', page))
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) > 20
    for link in links:
        assert link.startswith("https://") or link.removeprefix("#") in anchors, link
    assert all(source.startswith("https://") for source in re.findall(r'src="([^"]+)"', page))


def test_a_file_that_the_description_names_is_in_the_source_distribution(
    metadata: Message, tmp_path: Path
) -> None:
    """Where the README has a link, the description has the path of the file."""
    named = re.findall(r"\(`([^`]+\.(?:md|py)|LICENSE)`\)", str(metadata.get_payload()))
    assert "examples/metrics.py" in named
    with contextlib.chdir(ROOT):
        archive = build.build_sdist(str(tmp_path))
    with tarfile.open(tmp_path / archive) as source:
        held = {name.partition("/")[2] for name in source.getnames()}
    assert set(named) <= held


@pytest.mark.parametrize("layer", LAYERS)
def test_the_summary_and_the_keywords_name_every_layer(metadata: Message, layer: str) -> None:
    """A search of the index for any of the patterns finds the package."""
    summary = metadata["Summary"].lower().replace("retries", "retry")
    assert layer in summary
    assert layer in metadata["Keywords"].split(",")


def test_the_classifiers_name_the_interpreters_of_the_checks(metadata: Message) -> None:
    """A version is claimed if `.ci/run` tests on it, and the first is the oldest allowed."""
    classifiers = metadata.get_all("Classifier", [])
    claimed = [line.removeprefix(VERSION) for line in classifiers if line.startswith(VERSION)]
    checked = re.search(r"^for version in ([\d. ]+);", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert checked is not None
    assert [f"3.{minor}" for minor in claimed] == checked[1].split()
    assert metadata["Requires-Python"] == f">=3.{claimed[0]}"
    assert {"Framework :: AsyncIO", "Framework :: Trio", "Typing :: Typed"} <= set(classifiers)


def test_the_wheel_holds_the_package_alone(wheel: dict[str, bytes]) -> None:
    """It has the marker for type checkers and the licence, but no tests."""
    assert {"walltrack/py.typed", f"{INFORMATION}/licenses/LICENSE"} <= wheel.keys()
    assert {name.partition("/")[0] for name in wheel} == {"walltrack", INFORMATION}
