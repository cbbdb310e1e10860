"""Curves as SVG: one picture for light and dark pages, with the value of every point in it, which the page shows on hover.

A page inlines the picture (``inline``), so that its colours follow the page; the file is complete by itself.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.ticker import LogLocator, MaxNLocator

from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.pictures.history import Points, Series, axis_range, short_count, thin, value_text

WIDTH, HEIGHT = 420.0, 250.0  # of the view box, in CSS px at full size
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 30.0, 44.0  # margins around the axes
FEW_POINTS = 20  # up to this number, every point of a curve is marked
TICKS = 5
LEGEND_STEP = 190.0  # distance of two columns of the legend


def _colours(theme: Theme) -> str:
    series = "".join(f"--series-{index}:{colour};" for index, colour in enumerate(theme.series))
    return f"--ink:{theme.ink};--muted:{theme.muted};--rule:{theme.rule};--card:{theme.card};{series}"


PLOT_RULES = """
.plot{display:block;width:100%;height:auto;font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
.plot text{fill:var(--muted)}.plot .word{fill:var(--ink);font-variant-numeric:tabular-nums}
.plot .grid{stroke:var(--rule);stroke-width:.8}.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.plot .at{stroke:var(--muted);stroke-width:1;stroke-dasharray:3 3;visibility:hidden}
.plot.active .at{visibility:visible}
""" + "".join(
    f".plot .series-{index}{{stroke:var(--series-{index})}}.plot .mark-{index}{{fill:var(--series-{index});stroke:none}}\n"
    for index in range(len(LIGHT.series))
)
"""Style of the plots; the colours are custom properties."""
OWN_STYLE = (
    f"<style>:root{{{_colours(LIGHT)}}}@media (prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}"
    f"svg{{background:var(--card)}}{PLOT_RULES}</style>"
)
"""Style of a picture that is shown by itself."""
PAGE_STYLE = f":root{{{_colours(LIGHT)}}}\n@media (prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}{PLOT_RULES}"
"""Style of a page with plots in it."""

SCRIPT = """
for(const plot of document.querySelectorAll("svg.plot")){
  const curves=[...plot.querySelectorAll(".curve")].map(g=>({word:g.querySelector(".value"),dot:g.querySelector(".dot"),
    rest:g.querySelector(".value").textContent,values:g.dataset.values.split(" "),images:g.dataset.images.split(" "),
    points:g.dataset.points.split(" ").map(p=>p.split(",").map(Number))}));
  if(!curves.length)continue;
  const at=plot.querySelector(".at"),axis=plot.querySelector(".axis"),rest=axis.textContent,link=plot.closest("a");
  let chosen=-1;
  const show=x=>{let where=x,images="";
    for(const c of curves){let best=0;
      c.points.forEach((p,i)=>{if(Math.abs(p[0]-x)<Math.abs(c.points[best][0]-x))best=i});
      const [px,py]=c.points[best];c.dot.setAttribute("cx",px);c.dot.setAttribute("cy",py);c.word.textContent=c.values[best];
      if(c===curves[0]){where=px;images=c.images[best];chosen=best}}
    at.setAttribute("x1",where);at.setAttribute("x2",where);axis.textContent="at "+images+" images";plot.classList.add("active")};
  const hide=()=>{for(const c of curves){const [x,y]=c.points[c.points.length-1];
    c.dot.setAttribute("cx",x);c.dot.setAttribute("cy",y);c.word.textContent=c.rest}
    axis.textContent=rest;chosen=-1;plot.classList.remove("active")};
  plot.addEventListener("pointermove",e=>{const box=plot.getBoundingClientRect();
    show((e.clientX-box.left)*plot.viewBox.baseVal.width/box.width)});
  plot.addEventListener("pointerleave",hide);
  if(link){link.addEventListener("blur",hide);
    link.addEventListener("keydown",e=>{const step={ArrowLeft:-1,ArrowRight:1}[e.key];if(!step)return;e.preventDefault();
      const points=curves[0].points,from=chosen<0?(step>0?-1:points.length):chosen;
      show(points[Math.min(points.length-1,Math.max(0,from+step))][0])})}
}
"""
"""Shows the values below the pointer, or of the next point with the arrow keys, in the legend."""


def curves_svg(series: Series, *, label: str) -> bytes:
    """Return one panel as a complete SVG file: value over images seen, thinned, the newest value in the legend.

    Args:
        series: the curves; their axis is logarithmic if ``series.log_scale``.
        label: description of the picture for screen readers.

    """
    curves = {name: thin(curve) for name, curve in series.curves.items()}
    across, up = _across(curves), _up(series)
    parts = [*_grid(series, up), *_images_axis(curves, across)]
    for index, (name, curve) in enumerate(curves.items()):
        parts.append(_curve(index, name if len(curves) > 1 else "newest", curve, across, up, newest=series.curves[name][-1][1]))
    parts.append(f'<line class="at" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(label)}">{OWN_STYLE}{"".join(parts)}</svg>\n'
    ).encode()


def inline(content: bytes) -> str:
    """Return the picture as an element of a page that has ``PAGE_STYLE``."""
    return content.decode().replace(OWN_STYLE, "").replace(' xmlns="http://www.w3.org/2000/svg"', "").strip()


class _Scale:
    """Values to positions, linear or logarithmic."""

    def __init__(self, low: float, high: float, start: float, stop: float, *, log_scale: bool = False) -> None:
        self.low, self.high, self._log = low, high, log_scale
        self._start, self._stop = start, stop

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) for v in (self.low, self.high, value)) if self._log else (self.low, self.high, value)
        return self._start + (self._stop - self._start) * (at - low) / (high - low)


def _across(curves: Mapping[str, Points]) -> _Scale:
    images = [seen for curve in curves.values() for seen, _ in curve]
    first, last = min(images), max(images)
    low = 0.0 if first <= 0.25 * last else first
    return _Scale(low, last if last > low else low + 1, LEFT, WIDTH - RIGHT)


def _up(series: Series) -> _Scale:
    low, high = axis_range(series)
    return _Scale(low, high, HEIGHT - BOTTOM, TOP, log_scale=series.log_scale)


def _ticks(scale: _Scale, log_scale: bool) -> list[float]:
    if log_scale:
        locator: LogLocator | MaxNLocator = LogLocator(subs=(1, 2, 5) if scale.high < 300 * scale.low else (1,))
    else:
        locator = MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10])
    margin = 1e-9 * (scale.high - scale.low)
    return [float(tick) for tick in locator.tick_values(scale.low, scale.high) if scale.low - margin <= tick <= scale.high + margin]


def _grid(series: Series, up: _Scale) -> list[str]:
    parts = []
    for tick in _ticks(up, series.log_scale):
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value_text(0.0 if abs(tick) < 1e-12 else tick)}</text>')
    return parts


def _images_axis(curves: Mapping[str, Points], across: _Scale) -> list[str]:
    ticks = _ticks(across, log_scale=False)
    words = [f'<text x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short_count(tick)}</text>' for tick in ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*words, f'<text class="axis" x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">images seen</text>']


def _curve(index: int, name: str, curve: Points, across: _Scale, up: _Scale, *, newest: float) -> str:
    colour = index % len(LIGHT.series)
    places = [(f"{across(images):.1f}", f"{up(value):.1f}") for images, value in curve]
    points = " ".join(f"{x},{y}" for x, y in places)
    marks = _marks(places, colour) if len(curve) <= FEW_POINTS else ""
    (x, y), left = places[-1], LEFT - 44 + LEGEND_STEP * index
    values, images = (" ".join(words) for words in zip(*((f"{value:.4g}", short_count(seen)) for seen, value in curve), strict=True))
    return (
        f'<g class="curve" data-points="{points}" data-values="{values}" data-images="{images}">'
        f'<polyline class="line series-{colour}" points="{points}"/>{marks}<circle class="dot mark-{colour}" cx="{x}" cy="{y}" r="4"/>'
        f'<line class="line series-{colour}" x1="{left}" x2="{left + 16}" y1="11" y2="11"/><text class="word" x="{left + 22}" y="15">'
        f'{escape(name)} <tspan class="value">{newest:.4g}</tspan></text></g>'
    )


def _marks(places: Sequence[tuple[str, str]], colour: int) -> str:
    return "".join(f'<circle class="mark-{colour}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places)
