"""The facts of several runs: a table of those that differ, marked where they differ from the first run, and a list of the equal ones."""

from collections.abc import Mapping
from html import escape

from gconv_gan.gallery.page.document import breakable, facts_html, wide_table

ABSENT = "–"


def settings_html(runs: Mapping[str, Mapping[str, str]]) -> str:
    """Return the facts (name -> value) of runs as HTML; a fact that a run lacks differs from that of the others."""
    names = list(dict.fromkeys(fact for facts in runs.values() for fact in facts))
    rows = {name: [facts.get(name, ABSENT) for facts in runs.values()] for name in names}
    equal = {name: values[0] for name, values in rows.items() if len(set(values)) == 1}
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>' + "".join(_cell(value, differs=value != values[0]) for value in values) + "</tr>"
        for name, values in rows.items()
        if name not in equal
    )
    caption = f"<b>{len(rows) - len(equal)} facts differ</b> Marked: not as in {breakable(next(iter(runs)))}."
    heads = ["Fact", *map(breakable, runs)]
    table = wide_table("Facts that differ", caption=caption, heads=heads, body=body, style="settings") if body else ""
    return table + (f"<details><summary>{len(equal)} facts are equal</summary>{facts_html(equal)}</details>" if equal else "")


def _cell(value: str, *, differs: bool) -> str:
    return f"<td><mark>{escape(value)}</mark></td>" if differs else f"<td>{escape(value)}</td>"
