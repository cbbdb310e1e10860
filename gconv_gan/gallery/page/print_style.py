"""Rules for pages on paper: light colours on white, no fixed bars, pictures and tables whole on one sheet."""

from dataclasses import replace

from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.curves.curves_svg import colours

PAPER = replace(LIGHT, page="#ffffff")


def print_style(variables: str) -> str:
    """Return the rules; ``variables`` are the colours of ``PAPER`` as custom properties."""
    return f"@page{{margin:14mm}}\n@media print{{:root{{{variables}{colours(PAPER)}}}{RULES}}}\n"


RULES = """
html{font-size:13px}
.bar,.skip,.cursor,dialog,.filter,.hint{display:none}
.wrap{width:100%}
.hero,section{display:block;padding-block:1.2rem}
.hero>*,section>*{margin-bottom:1rem}
.intro{position:static;break-inside:avoid;break-after:avoid}
h1,h2,h3,caption{break-after:avoid}
.plates,.panels,.pair,.scores{display:block}
.plates>*,.panels>*,.pair>*,.scores>*{margin-bottom:1.2rem}
figure,table,tr,pre,.terms dd,.facts dt,.facts dd{break-inside:avoid}
.facts{break-inside:auto}
thead{display:table-header-group}
.wide{overflow:visible}
.panel{display:inline-block;vertical-align:top;width:48.5%;margin-right:1.4%}
img,.plot{max-height:225mm}
img{object-fit:contain;object-position:0 0}
a{text-decoration:none}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
"""
