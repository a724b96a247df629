"""What MkDocs does for this site beside its own: pages made of other files, and a check of links.

Pages of the guides stay plain files that read well in a repository. What lies elsewhere (the
README's tour, results, changelog), what follows from code (the API reference) and the executed
notebooks become pages here.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
FLOORS = ("datasets", "operators", "pretrain", "finetune")
LINKS, NOTEBOOKS = ROOT / "build" / "site", ROOT / "build" / "tutorials"
# Page -> the file that it is made of, and which of its sections ("" for all).
ELSEWHERE = {
    "tour.md": ("README.md", "Five-minute tour"),
    "results.md": ("benchmarks/RESULTS.md", ""),
    "changelog.md": ("CHANGELOG.md", ""),
    "contributing.md": ("CONTRIBUTING.md", ""),
}
# Modules that are used as such, by the page on which their functions stand.
MODULES = {
    "datasets": ("pelagos.datasets.fields.metrics",),
    "operators": ("pelagos.operators.dymixop.published", "pelagos.operators.multiscale.published"),
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)\s]+)\)")


def on_startup(command: str, dirty: bool) -> None:
    """Lay out the code as it is imported, for mkdocstrings, which looks for it first of all."""
    shutil.rmtree(LINKS, ignore_errors=True)
    (LINKS / "pelagos").mkdir(parents=True)
    for floor in FLOORS:
        (LINKS / "pelagos" / floor).symlink_to(ROOT / floor, target_is_directory=True)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API's pages into the navigation."""
    pages: list[dict[str, object]] = []
    for floor in FLOORS:
        wings = [{f"{wing.name}": _page_of(wing)} for wing in _wings(floor)]
        pages.append({f"pelagos.{floor}": [_page_of(ROOT / floor), *wings]})
    for entry in config.nav or []:
        if "API" in entry:
            entry["API"] = ["api/index.md", *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""
    pages = {name: _elsewhere(*source) for name, source in ELSEWHERE.items()}
    pages["api/index.md"] = _overview()
    for floor in FLOORS:
        face = ROOT / floor
        pages[_page_of(face)] = _reference(face, "")
        for wing in _wings(floor):
            pages[_page_of(wing)] = _reference(wing, floor)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        for name, content in _notebook(path.stem):
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to pages, or into plain text."""
    here = page.file.src_uri
    source = ELSEWHERE.get(here, (f"docs/{here}", ""))[0]
    pages = {path: name for name, (path, _) in ELSEWHERE.items()}

    def linked(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        path, _, anchor = target.partition("#")
        found = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        name = pages.get(found, found.removeprefix("docs/"))
        if name.startswith("tutorials/"):
            name = name.removesuffix(".py") + ".md" * name.endswith(".py")
        if name in ELSEWHERE and ELSEWHERE[name][1]:
            anchor = ""  # the page is that section
        if name == found or files.get_file_from_path(name) is None:
            return match[0] if (ROOT / "docs" / here).parent.joinpath(path).is_file() else text
        link = posixpath.relpath(name, posixpath.dirname(here) or ".")
        return f"{image}[{text}]({link}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(linked, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a link or picture of the built site leads nowhere, or needs a network.

    Raises:
        PluginError: with the links.
    """
    site = Path(config.site_dir)
    # A server gives 404.html for any address, so its links begin at the root.
    pages = {path: _Links.of(path) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = [
        f"{path.relative_to(site)}: {link}"
        for path, found in pages.items()
        for link in found.links
        if link in found.fetched or not _leads_somewhere(path, link, pages)
    ]
    if broken:
        raise PluginError(
            "links that lead nowhere, or fetch something:\n" + "\n".join(sorted(set(broken)))
        )


class _Links(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []  # from a network, by a browser that opens the page
        self.anchors: set[str] = {"", "__top"}

    @classmethod
    def of(cls, path: Path) -> _Links:
        found = cls()
        found.feed(path.read_text(encoding="utf-8"))
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values.get("id") or "", values.get("name") or ""}
        link = values.get("href" if tag in ("a", "link") else "src")
        if link is not None:
            self.links.append(link)
            if tag != "a" and urlsplit(link).scheme in ("http", "https"):
                self.fetched.append(link)


def _leads_somewhere(path: Path, link: str, pages: dict[Path, _Links]) -> bool:
    if urlsplit(link).scheme or link.startswith("//"):
        return True  # elsewhere: a build needs no network
    address, anchor = urldefrag(link)
    target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
    if target.is_dir():
        target /= "index.html"
    found = pages.get(target)
    return target.is_file() and (found is None or unquote(anchor) in found.anchors)


def _elsewhere(source: str, section: str) -> str:
    text = (ROOT / source).read_text(encoding="utf-8")
    if not section:
        return text
    body = re.split(r"^## ", text, flags=re.MULTILINE)
    [found] = [part for part in body if part.startswith(f"{section}\n")]
    return f"# {found}"


def _notebook(name: str) -> Iterator[tuple[str, str | bytes]]:
    """The page of an executed notebook, its pictures, and the notebook itself.

    Raises:
        PluginError: it was not executed.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    if not path.is_file():
        raise PluginError(f"{path.relative_to(ROOT)} is missing; build with `make docs`")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_told(output)]
    text, resources = MarkdownExporter().from_notebook_node(
        notebook, {"unique_key": name, "output_files_dir": f"{name}_files"}
    )
    note = f"[This page as a notebook]({name}.ipynb), with what it printed.\n"
    head, _, body = text.lstrip().partition("\n")
    yield f"{name}.md", f"{head}\n\n{note}\n{body}"
    yield f"{name}.ipynb", path.read_bytes()
    yield from resources["outputs"].items()


def _is_told(output: nbformat.NotebookNode) -> bool:
    """Whether an output is printed or drawn; progress and warnings are left out."""
    if output.output_type == "stream":
        return output.name == "stdout"
    return output.output_type == "error" or "image/png" in output.get("data", {})


def _wings(floor: str) -> list[Path]:
    return sorted(path.parent for path in (ROOT / floor).glob("*/__init__.pyi"))


def _page_of(folder: Path) -> str:
    return "api/" + ".".join(folder.relative_to(ROOT).parts) + ".md"


def _purpose(folder: Path) -> str:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def _names(folder: Path) -> dict[str, str]:
    """Every exported name -> where it is defined."""
    tree = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    package = ".".join(("pelagos", *folder.relative_to(ROOT).parts))
    return {
        alias.name: f"{package}.{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _reference(folder: Path, floor: str) -> str:
    """A page of all names that a package exports; those of its floor's face stand there."""
    package = ".".join(("pelagos", *folder.relative_to(ROOT).parts))
    above = set(_names(ROOT / floor).values()) if floor else set()
    names = _names(folder)
    parts = [f"# {package}", _purpose(folder)]
    shown = [name for name, path in names.items() if path in above]
    if shown:
        links = ", ".join(f"[{name}][{names[name]}]" for name in shown)
        parts.append(f"Also exported here: {links}.")
    constants = [name for name in names if name.isupper()]
    if constants:
        parts.append(f"Constants: {', '.join(f'`{name}`' for name in constants)}.")
    parts += [
        f"::: {path}" for name, path in names.items() if path not in above and name not in constants
    ]
    if not floor:
        for module in MODULES.get(folder.name, ()):
            parts.append(f"::: {module}\n    options: {{show_root_full_path: true}}")
    return "\n\n".join(parts) + "\n"


def _overview() -> str:
    """What each package is for, with links to the pages."""
    lines = ["# API reference", "", "What is imported from a package itself is for users; wings"]
    lines += ["export what other wings and [extensions](../extending.md) use.", ""]
    for floor in FLOORS:
        for folder in (ROOT / floor, *_wings(floor)):
            package = ".".join(("pelagos", *folder.relative_to(ROOT).parts))
            depth = "    " * (folder.parent.name == floor)
            first = _purpose(folder).splitlines()[0]
            lines.append(f"{depth}- [`{package}`]({posixpath.basename(_page_of(folder))}): {first}")
    return "\n".join(lines) + "\n"
