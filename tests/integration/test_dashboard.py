"""The dashboard shows metrics that exist, under the names that Prometheus gives them."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "observability"
NAME = re.compile(r"\bwalltrack_\w+")
SERIES = re.compile(r"^(walltrack_\w+)\{(.*)\} ", re.MULTILINE)
LABEL = re.compile(r'(\w+)="')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
USED = re.compile(r"\$(\w+)")
SELECTED = re.compile(r"\{([^}]*)\}")


@cache
def exported() -> dict[str, set[str]]:
    """The series that the example exports by the real exporter, each with its labels."""
    ran = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, "-W", "error", str(FOLDER / "export.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
    series: dict[str, set[str]] = {}
    for name, labels in SERIES.findall(ran.stdout):
        series.setdefault(name, set()).update(LABEL.findall(labels))
    return series


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    shown: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return shown


def expressions() -> dict[str, list[str]]:
    """The queries of each panel."""
    return {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for panel in dashboard()["panels"]
    }


def metrics_in(text: str) -> set[str]:
    """The metrics that a query names, without the labels."""
    labels = set().union(*exported().values())
    return set(NAME.findall(text)) - labels


@pytest.mark.parametrize("title", expressions())
def test_a_panel_shows_series_that_are_exported(title: str) -> None:
    """Every metric in its queries, and every label by which they group or select."""
    for query in expressions()[title]:
        metrics = metrics_in(query)
        assert metrics
        assert metrics <= set(exported())
        known = set().union(*(exported()[metric] for metric in metrics))
        grouped = {label.strip() for group in GROUPED.findall(query) for label in group.split(",")}
        selected = {
            label for part in SELECTED.findall(query) for label in re.findall(r"(\w+)[=!]", part)
        }
        assert grouped | selected <= known


def test_every_metric_has_a_panel() -> None:
    """A panel shows each metric that is exported."""
    text = " ".join(query for queries in expressions().values() for query in queries)
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported()}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in metrics_in(text)}
    assert shown == families
    assert len(families) == 12


def test_the_readme_names_every_series() -> None:
    """The table has every series by its name in Prometheus, and no other names."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = metrics_in(text)
    assert named <= set(exported())
    families = {re.sub(r"_(count|sum)$", "_bucket", name) for name in exported()}
    assert families <= named


def test_it_can_be_imported() -> None:
    """Grafana 10 knows its schema; the data source and the service are chosen by variables."""
    shown = dashboard()
    assert shown["schemaVersion"] == 39  # that of Grafana 10.4; later ones migrate it
    assert shown["uid"] == "walltrack"
    assert shown.get("id") is None  # with one, Grafana would look for a dashboard that is there
    variables = {variable["name"]: variable for variable in shown["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert metrics_in(variables["service"]["query"]["query"]) <= set(exported())
    for panel in shown["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert {name for target in panel["targets"] for name in USED.findall(target["expr"])} <= {
            "service",
            "__rate_interval",
        }


@pytest.mark.parametrize("title", expressions())
def test_a_legend_shows_labels_by_which_its_query_groups(title: str) -> None:
    """Any other label would be empty."""
    [panel] = [panel for panel in dashboard()["panels"] if panel["title"] == title]
    for target in panel["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        groups = GROUPED.findall(target["expr"])
        assert shown <= {label.strip() for group in groups for label in group.split(",")}
        assert target["expr"].count("(") == target["expr"].count(")")


def test_panels_do_not_overlap() -> None:
    """Each has its place on the grid, and its id."""
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
