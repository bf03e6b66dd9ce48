"""Pieces of a page of HTML. Cells, titles and bodies are HTML already; :func:`text` escapes."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

__all__ = ["bars", "legend", "section", "table", "text"]


def text(value: object) -> str:
    """A value as text in HTML."""
    return html.escape(str(value))


def section(title: str, words: str, body: str) -> str:
    """A titled card with a sentence above it."""
    return f"<section><h2>{title}</h2><p>{words}</p><div class=card>{body}</div></section>"


def legend(*entries: tuple[str, str]) -> str:
    """Color keys: (class, meaning)."""
    items = "".join(f'<span><i class="{kind}"></i>{words}</span>' for kind, words in entries)
    return f"<div class=legend>{items}</div>"


def bars(rows: Sequence[tuple[str, Mapping[str, float]]], label: Callable[[float], str]) -> str:
    """Stacked bars, all on one scale."""
    longest = max((sum(parts.values()) for _, parts in rows), default=0) or 1
    body = []
    for name, parts in rows:
        pieces = "".join(
            f'<i class="{kind}" style="width:{100 * value / longest:.2f}%"'
            f' title="{kind}: {label(value)}"></i>'
            for kind, value in parts.items()
            if value
        )
        total = label(sum(parts.values()))
        body.append(f"<span>{text(name)}</span><div class=bar>{pieces}</div><b>{total}</b>")
    return f"<div class=bars>{''.join(body)}</div>"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[int] = ()
) -> str:
    """A table whose columns with an index in ``right`` hold numbers and stand to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if index in right else ''}>{content}</{tag}>"
            for index, content in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', cells)}</tr>" for cells in rows)
    return f"<table><tr>{line('th', heads)}</tr>{body}</table>"
