"""Every Python block of the README runs as it stands."""

import re
from pathlib import Path

import pytest
import respx

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
