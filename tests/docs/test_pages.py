"""The pages of the project: short where they must be, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        ROOT / "infra" / "README.md",
        ROOT / "bench" / "README.md",
    ]
)
DECISIONS = [page for page in PAGES if page.parent.name == "decisions" and page.name != "README.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """The page's text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    """A link to a file or a heading of the project finds it."""
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_readme_is_short() -> None:
    """The README says what a newcomer needs in at most 120 lines; the rest has its own page."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("folder", ["docs", "docs/decisions"])
def test_the_index_names_every_page(folder: str) -> None:
    """Each page of the folder is linked from its README.md."""
    index = ROOT / folder / "README.md"
    linked = set(LINK.findall(index.read_text()))
    for page in (ROOT / folder).glob("*.md"):
        assert page == index or page.name in linked, page.name


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_record_is_short(page: Path) -> None:
    """A record has a context, a decision and consequences in at most 400 words."""
    text = page.read_text()
    headings = set(re.findall(r"^## (.*)$", text, re.MULTILINE))
    assert {"Context", "Decision", "Consequences"} <= headings
    assert len(text.split()) <= 400
