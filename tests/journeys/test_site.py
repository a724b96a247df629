"""The site's pages: each is in the navigation, and its links lead somewhere."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MADE = {"tour.md", "results.md", "changelog.md", "contributing.md"}  # of files elsewhere


class Loader(yaml.SafeLoader):
    """Reads MkDocs' settings, in which functions are named, without calling them."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, tag, node: tag)
SETTINGS = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def named(entries):
    """The pages of a part of the navigation."""
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else named(value)


def test_every_page_is_in_the_navigation():
    pages = {path.name for path in DOCS.glob("*.md")}
    tutorials = {f"tutorials/{path.stem}.md" for path in (DOCS / "tutorials").glob("*.py")}
    found = list(named(SETTINGS["nav"]))
    assert sorted(found) == sorted(pages | tutorials | MADE)


def test_links_of_tutorials_lead_somewhere():
    wrong = []
    for path in (DOCS / "tutorials").glob("*.py"):
        for link in re.findall(r"\]\((?!http)([^)#\s]+)", path.read_text()):
            if not (path.parent / link).exists():
                wrong.append(f"{path.name}: {link}")
    assert not wrong


def slug(heading):
    """The anchor of a heading, as repositories and the site make it."""
    text = re.sub(r"[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def test_anchors_between_pages_exist():
    wrong = []
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    anchors = {
        page.resolve(): {slug(h) for h in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}
        for page in pages
    }
    for page in pages:
        for link, anchor in re.findall(r"\]\((?!http)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
            target = (page.parent / link).resolve() if link else page.resolve()
            if target in anchors and anchor not in anchors[target]:
                wrong.append(f"{page.name}: {link}#{anchor}")
    assert not wrong
