import pytest

from walltrack.http.structured import Member, parse_members


@pytest.mark.parametrize(
    ("lines", "members"),
    [
        (['"a";r=0;t=3'], [Member(None, '"a"', {"r": "0", "t": "3"})]),
        (['"a", "b"'], [Member(None, '"a"', {}), Member(None, '"b"', {})]),
        (['"a"', "b"], [Member(None, '"a"', {}), Member(None, "b", {})]),
        (["limit=100, reset=30"], [Member("limit", "100", {}), Member("reset", "30", {})]),
        (['"x";flag;n=-1.5'], [Member(None, '"x"', {"flag": None, "n": "-1.5"})]),
        ([r'"quo\"ted, ;"'], [Member(None, r'"quo\"ted, ;"', {})]),
    ],
)
def test_lists_and_dictionaries_are_read(lines: list[str], members: list[Member]) -> None:
    """Members are read in order, also from several lines, with their keys and parameters."""
    assert parse_members(lines) == members


@pytest.mark.parametrize(
    "lines", [[], [""], [","], ['"a",'], ['"a" junk'], ['"a'], ['"a";'], ["(1 2)"], ['"a"', ""]]
)
def test_what_is_malformed_anywhere_has_no_members(lines: list[str]) -> None:
    """RFC 9651 has the whole field ignored."""
    assert parse_members(lines) == []
