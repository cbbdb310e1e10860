"""The HTML document of every page: head, navigation, main part, footer, and the keys j and k to move between pictures."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from gconv_gan.gallery.page.sample_box import SCRIPT as SAMPLE_SCRIPT
from gconv_gan.gallery.page.style import STYLE
from gconv_gan.gallery.pictures.curves.curves_svg import SCRIPT as CURVES_SCRIPT
from gconv_gan.gallery.pictures.gate_map import SCRIPT as GATES_SCRIPT

SCRIPT = """
addEventListener("keydown",event=>{
  if(event.ctrlKey||event.metaKey||event.altKey||event.target.matches?.("input,textarea,select"))return;
  const step={j:1,k:-1}[event.key];if(!step)return;
  const plates=[...document.querySelectorAll("figure a")].filter(plate=>plate.getClientRects().length);
  const at=plates.indexOf(document.activeElement);
  const next=plates[Math.min(plates.length-1,Math.max(0,at+step))];
  if(next){next.focus();next.scrollIntoView({block:"center"})}
});
"""


def breakable(name: str) -> str:
    """Return an escaped name with possible line breaks after underscore, hyphen, colon, slash and equals sign."""
    return re.sub("([-_:/=])", r"\1<wbr>", escape(name))


def facts_html(facts: Mapping[str, str]) -> str:
    """Return a table of facts as a description list; an option of a command line is not broken at its hyphens."""
    rows = ((escape(name), re.sub(r"(?<=\s)--[\w.-]+", r'<span class="flag">\g<0></span>', escape(value))) for name, value in facts.items())
    return '<dl class="facts">' + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"


def wide_table(label: str, *, caption: str, heads: Sequence[str], body: str, style: str = "") -> str:
    """Return a table that scrolls sideways where the page is narrow.

    Args:
        label: of the scrolled region, as text.
        caption: HTML above the table.
        heads: HTML of the heads of the columns.
        body: HTML of the rows.
        style: class of the table.

    """
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    of = f' class="{style}"' if style else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}"><table{of}><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def section_html(name: str, title: str, intro: str, body: str) -> str:
    """Return a section of the whole width of the page; ``intro`` and ``body`` are HTML."""
    words = f"<p>{intro}</p>" if intro else ""
    return (
        f'<section id="{escape(name)}" class="wrap stacked" aria-labelledby="{escape(name)}-title"><div class="intro">'
        f'<h2 id="{escape(name)}-title">{escape(title)}</h2>{words}</div><div class="plates">{body}</div></section>'
    )


def document_html(
    *, title: str, links: Mapping[str, str], main: str, footer: str, maker: str = "gconv_gan", style: str = "", script: str = ""
) -> str:
    """Return a whole page.

    Args:
        title: of the window, as text.
        links: target -> text of the navigation link.
        main: HTML between navigation and footer.
        footer: HTML at the end.
        maker: content of the page's ``generator`` meta tag.
        style: CSS of this page, behind that of every page.
        script: JavaScript of this page, likewise.

    """
    navigation = "".join(f'<a href="{escape(target)}">{escape(word)}</a>' for target, word in links.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="{escape(maker)}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}{style}</style>
</head>
<body>
<a class="skip" href="#pictures">Skip to the pictures</a>
<div class="bar"><nav class="wrap" aria-label="Sections"><a class="mark" href="#pictures">gconv_gan</a>{navigation}</nav></div>
<main id="pictures">
{main}
</main>
<footer class="wrap">{footer}</footer>
<script>{SCRIPT}{CURVES_SCRIPT}{GATES_SCRIPT}{SAMPLE_SCRIPT}{script}</script>
</body>
</html>
"""
