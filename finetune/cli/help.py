"""`pelagos help …`: pages that explain a subject."""

from __future__ import annotations

from importlib.resources import files

from ...datasets.base.config import nearest


def show(subject: str | None = None, /) -> None:
    """Print a page that explains a subject.

    Args:
        subject: data: files of your own, and how to describe them.

    Examples:
        pelagos help data
    """
    pages = files("pelagos.finetune.cli") / "pages"
    names = sorted(page.name.removesuffix(".txt") for page in pages.iterdir())
    if subject is None:
        print("\n".join(f"pelagos help {name}" for name in names))
        return
    if subject not in names:
        raise ValueError(f"no page {subject!r}{nearest(subject, names)}; there are: {names}")
    print((pages / f"{subject}.txt").read_text(encoding="utf-8"), end="")
