"""Every Python block of the README runs as it stands."""

import re
from pathlib import Path

import pytest
import respx

from walltrack import Settings

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line of {len(block)} characters")
def test_a_block_of_the_readme_runs(block: str) -> None:
    """The block runs without a warning against a service that is well."""
    with respx.mock(assert_all_called=False) as service:
        service.route(host="api.example.com").respond(json={"usd": 71.25})
        exec(compile(block, str(README), "exec"), {"__name__": "__main__"})  # noqa: S102 - our own


def test_the_readme_has_blocks() -> None:
    """The blocks are found: a README that was rewritten beyond recognition is not passed over."""
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(
    "link",
    re.findall(r"\[(test_\w+)\]\((tests/[\w/]+\.py)\)", README.read_text("utf-8")),
    ids=lambda link: link[0],
)
def test_a_test_that_the_readme_names_is_there(link: tuple[str, str]) -> None:
    """A promise that is linked to its test stays linked to it."""
    name, path = link
    source = (README.parent / path).read_text(encoding="utf-8")
    assert f"def {name}(" in source


def test_the_settings_of_the_readme_are_those_of_the_class() -> None:
    """With their names and defaults, in their order."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([\d.]+|keyed) \|", README.read_text("utf-8"), re.MULTILINE
    )
    fields = Settings.model_fields.items()
    assert rows == [(name.upper(), str(field.default)) for name, field in fields]
