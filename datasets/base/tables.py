"""Tables for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts as HTML, below its title."""

    def row(texts: Sequence[str], kind: str) -> str:
        cells = (f"<{kind} style='text-align:left'>{html.escape(t)}</{kind}>" for t in texts)
        return f"<tr>{''.join(cells)}</tr>"

    body = row(heads, "th") + "".join(row(texts, "td") for texts in rows)
    return f"<b>{html.escape(title)}</b><table>{body}</table>"
