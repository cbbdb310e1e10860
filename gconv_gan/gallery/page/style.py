"""The page's style sheet: large pictures with small labels beside them."""

from gconv_gan.gallery.page.print_style import PAPER, print_style
from gconv_gan.gallery.page.sample_box import STYLE as SAMPLE_STYLE
from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.pictures.curves.curves_svg import PAGE_STYLE


def variables(theme: Theme) -> str:
    """Return the theme's colours as CSS custom properties."""
    colours = {"page": theme.page, "card": theme.card, "ink": theme.ink, "muted": theme.muted, "rule": theme.rule, "accent": theme.accent}
    return f"color-scheme:{theme.name};" + "".join(f"--{name}:{colour};" for name, colour in colours.items())


RULES = """
*{box-sizing:border-box}
html{scroll-padding-top:4rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:400 1rem/1.55 var(--sans);
  --sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans","DejaVu Sans",sans-serif;
  --mono:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:.2em}
:focus-visible{outline:3px solid var(--accent);outline-offset:4px;border-radius:2px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;z-index:2;background:var(--card);padding:.5rem 1rem}
.wrap{width:min(100% - 2*clamp(1rem,4vw,2.5rem),74rem);margin-inline:auto}

.bar{position:sticky;top:0;z-index:1;background:var(--page);border-bottom:1px solid var(--rule)}
.bar nav{display:flex;flex-wrap:wrap;gap:0 1.5rem;align-items:center;white-space:nowrap;font-size:.875rem}
.bar a{color:var(--muted);text-decoration:none;padding:.8rem 0}.bar a:hover{color:var(--ink)}
.bar .mark{font:600 .8125rem/1 var(--mono);color:var(--ink);margin-right:auto}

.hero{display:grid;gap:2rem;padding-top:clamp(1.75rem,5vw,4rem);padding-bottom:clamp(2.5rem,6vw,5rem)}
.hero>*{min-width:0}
h1{font-weight:700;font-size:clamp(1.9rem,1.3rem + 2.6vw,3.4rem);line-height:1.06;letter-spacing:-.025em;margin:0 0 .9rem;
  overflow-wrap:anywhere;text-wrap:balance}
.lead{font-size:1.125rem;line-height:1.5;color:var(--muted);margin:0;max-width:34rem}
.lead strong{color:var(--ink);font-weight:600}
.facts{display:grid;grid-template-columns:auto minmax(0,1fr);margin:0;font-size:.875rem;border-top:1px solid var(--rule)}
.facts dt,.facts dd{margin:0;padding:.42rem 0;border-bottom:1px solid var(--rule)}
.facts dt{color:var(--muted);padding-right:1.5rem}
.flag{display:inline-block;max-width:100%}
.facts dd{font-family:var(--mono);font-size:.8125rem;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}

section{display:grid;gap:1.5rem;border-top:1px solid var(--rule);
  padding-top:clamp(1.75rem,4vw,3rem);padding-bottom:clamp(2.5rem,6vw,4.5rem)}
section>*{min-width:0}
h2{font-weight:650;font-size:1.375rem;line-height:1.2;letter-spacing:-.012em;margin:0 0 .6rem}
.intro p{margin:0 0 .7rem;color:var(--muted);font-size:.9375rem;max-width:40rem}
.terms{margin:1rem 0 0;font-size:.8125rem;line-height:1.45;max-width:40rem}
.terms dt{font:600 .75rem/1.4 var(--mono);color:var(--ink)}
.terms dd{margin:0 0 .5rem;color:var(--muted)}
.plates{display:grid;gap:2.5rem;align-content:start;grid-template-columns:minmax(0,1fr)}
.panels{display:grid;gap:1.25rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr))}
.panels.large{grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr))}

figure{margin:0;min-width:0}
figure a{display:block;color:inherit}
img{display:block;max-width:100%;height:auto}
.pixels img{image-rendering:pixelated}
figcaption{contain:inline-size;overflow-wrap:anywhere;margin-top:.8rem;font-size:.875rem;line-height:1.5;color:var(--muted);max-width:41rem}
figcaption b{color:var(--ink);font-weight:600;margin-right:.35em}
.labelled{display:grid;grid-template-columns:fit-content(7.75rem) minmax(0,auto);justify-content:start}
.groups{display:grid;justify-content:start;width:0;min-width:100%;margin-bottom:.6rem;font-size:.8125rem;line-height:1.2;color:var(--muted)}
.groups b{color:var(--ink);font-weight:600;align-self:end}
.labelled .groups,.labelled>a{grid-column:2}.labelled .rows{grid-column:1;grid-row:2}.labelled>a{grid-row:2}
.rows{list-style:none;margin:0;padding:0;display:grid;grid-auto-rows:1fr;font:500 .75rem/1.1 var(--mono);color:var(--muted);
  text-align:right;height:0;min-height:100%;min-width:0}
.rows li{min-height:0;min-width:0;display:flex;align-items:center;justify-content:flex-end;overflow:hidden}
.rows span{padding-right:.75rem;overflow:hidden;overflow-wrap:anywhere;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2}
.pair{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));align-items:start}
.pair>*{min-width:0}
.index{padding-bottom:4rem;align-items:start}
.panel{background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:1rem 1rem .9rem;display:flex;flex-direction:column}
.panel h3{font-size:.9375rem;font-weight:600;line-height:1.3;margin:0 0 .7rem;overflow-wrap:anywhere}
.panel h3.code{font:600 .8125rem/1.4 var(--mono)}
.panel figcaption{order:3;margin-top:.6rem;font-size:.8125rem}
.chips{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:.75rem 0 0;font-size:.8125rem;color:var(--muted)}
.chips div{display:flex;gap:.4rem}.chips dt,.chips dd{margin:0}
.chips dd{font-family:var(--mono);color:var(--ink);font-variant-numeric:tabular-nums}

.scores{display:grid;gap:2rem 2.5rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));align-items:start}
.scores>*{min-width:0}
.facts+.scores{margin-top:2rem}
table{width:100%;border-collapse:collapse;font-size:.9375rem}
caption{text-align:left;font-size:.8125rem;line-height:1.45;color:var(--muted);padding-bottom:.6rem;overflow-wrap:break-word}
caption b{display:block;font:600 .875rem/1.4 var(--mono);color:var(--ink)}
th,td{padding:.5rem 0;border-top:1px solid var(--rule);vertical-align:baseline}
th{text-align:left;font-weight:500;padding-right:1.25rem}
td{text-align:right;font:600 1rem/1.3 var(--mono);font-variant-numeric:tabular-nums;white-space:nowrap}
.wide{overflow-x:auto}.wide td,.wide thead th{padding-left:1.25rem;font-size:.875rem}.wide th:first-child{padding-left:0;min-width:9rem}
thead th{text-align:right;white-space:nowrap;color:var(--muted);padding-right:0}thead th:first-child{text-align:left}
thead small{display:block;font-weight:400}
.best,.better{color:var(--accent)}
.settings tbody tr>*{padding-right:.5rem}
.settings td{text-align:left;white-space:normal;overflow-wrap:anywhere;font:400 .8125rem/1.45 var(--mono);min-width:9rem;vertical-align:top}
.settings thead th{text-align:left}
mark{color:inherit;background:color-mix(in srgb,var(--accent) 20%,transparent);border-radius:2px;padding:.1em .25em;margin-left:-.25em;
  -webkit-box-decoration-break:clone;box-decoration-break:clone}
.plates>div>h3{font-size:1rem;font-weight:600;margin:0 0 .8rem}
.filter{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin:0}
.filter input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:.45rem .7rem;
  width:min(100%,22rem)}
.listing td,.listing th{text-align:left;vertical-align:top;padding:.8rem 1.25rem .8rem 0;white-space:normal;overflow-wrap:anywhere}
.listing td{font:400 .875rem/1.45 var(--mono)}
.listing td b{display:block;font-size:1rem;font-weight:600}.listing td span{color:var(--muted);font-size:.8125rem}
.listing thead th{padding-block:.3rem;white-space:nowrap}
.listing button{font:inherit;color:inherit;background:none;border:0;padding:.3rem 0;cursor:pointer}
.listing button::after{content:"↕";display:inline-block;width:1.1em;text-align:right;opacity:.5}
[aria-sort] button::after{opacity:1}[aria-sort=ascending] button::after{content:"↑"}[aria-sort=descending] button::after{content:"↓"}
[aria-sort] button,.listing button:hover{color:var(--ink)}
.listing img{width:12.1rem;height:8.1rem;object-fit:none;object-position:0 0;border-radius:3px}
[hidden]{display:none!important}
pre{margin:0;overflow-x:auto;padding:1rem;background:var(--card);border:1px solid var(--rule);border-radius:6px;
  font:400 .8125rem/1.5 var(--mono)}
figcaption+details{margin-top:.7rem}
details{font-size:.875rem;border-block:1px solid var(--rule);padding:.6rem 0}
summary{cursor:pointer;color:var(--accent)}
details .facts{margin-top:.7rem}
footer{border-top:1px solid var(--rule);padding-top:1.75rem;padding-bottom:3rem;font-size:.8125rem;color:var(--muted)}
footer p{margin:0 0 .4rem;max-width:46rem}
kbd{font:500 .75rem/1 var(--mono);border:1px solid var(--rule);border-radius:3px;padding:.1em .4em;background:var(--card);color:var(--ink)}

@media (min-width:62rem){
  .hero{grid-template:auto 1fr/minmax(0,1fr) minmax(0,auto);gap:1.75rem clamp(2.5rem,5vw,4.5rem);align-items:start}
  .hero figure{grid-area:1/2/3/3}
  section{grid-template-columns:14.5rem minmax(0,1fr);gap:3.5rem}
  section.stacked,.hero.stacked{grid-template:none;grid-template-columns:minmax(0,1fr);gap:1.5rem}
  .intro{position:sticky;top:5rem;align-self:start}
  .stacked .intro{position:static}
}
@media (max-width:40rem){
  .labelled{grid-template-columns:fit-content(5.5rem) minmax(0,auto)}
  .rows span{padding-right:.5rem}
  .rows{font-size:.65rem;line-height:1.05}.groups{font-size:.75rem}
  .bar{position:static}
  .bar .mark{display:none}
  .bar nav{flex-wrap:wrap;gap:0 1.1rem;padding-block:.3rem}
  .bar a{padding:.35rem 0}
}
@media (max-width:62rem){
  .listing,.listing thead,.listing tbody{display:block}
  .listing thead tr{display:flex;flex-wrap:wrap;gap:0 1rem}.listing thead td{display:none}.listing thead th{border:0;padding:0}
  .listing thead tr::before{content:"Sort by";padding:.3rem 0;color:var(--muted)}
  .listing tbody tr{display:grid;grid-template-columns:8.2rem minmax(0,1fr);gap:0 1rem;padding:.8rem 0;border-top:1px solid var(--rule)}
  .listing tbody tr>*{border:0;padding:0 0 .15rem}.listing tbody tr>td:first-child{grid-row:1/span 9}
  .listing tbody td[data-head="Images seen"]::after{content:" images"}
  .listing td b{display:inline}
  .listing img{width:8.1rem}
}
@media (max-width:23rem){.rows span{-webkit-line-clamp:1}}
@media (max-width:40rem) and (max-resolution:1.4dppx){.pixels img{image-rendering:auto}}
"""

STYLE = (
    f":root{{{variables(LIGHT)}}}\n@media (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    f"{PAGE_STYLE}{RULES}{SAMPLE_STYLE}{print_style(variables(PAPER))}"
)
