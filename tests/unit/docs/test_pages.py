"""Links, paths and examples of the documentation lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from wfe_controller.api.workflowexecution import parse_spec

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`((?:wfe_controller|hack|manifests|tests|docs)/[\w./-]*)`")


def anchors(page: Path) -> set[str]:
    """The anchors GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    dead = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_paths_in_the_text_exist(page: Path) -> None:
    named = _CODE.findall(page.read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_requests_shown_are_valid(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for obj in yaml.safe_load_all(block):
            if obj.get("kind") == "WorkflowExecution":
                parse_spec(obj)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_nothing_of_the_author_s_machine_is_told(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.)-])/(?:root|home|Users|work|tmp)/\S*", text)


def test_readme_shows_a_request() -> None:
    assert "kind: WorkflowExecution" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_records_are_numbered_complete_and_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
    for record in RECORDS:
        text = record.read_text(encoding="utf-8")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"]
        assert f"decisions/{record.name}" in index


def test_each_dependency_has_its_reason() -> None:
    """A new dependency is argued for in the record, or it does not come in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=~!\[ ]", entry)[0].lower() for entry in wanted}
    rows = re.findall(r"^\| `([^`]+)`", RECORDS[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert {row.lower() for row in rows} == names
