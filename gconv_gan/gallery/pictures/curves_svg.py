"""Curves as SVG: one picture for light and dark pages, with the value of every point in it, which the page shows on hover.

A page inlines the picture (``inline``), so that its colours follow the page; the file is complete by itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from matplotlib.ticker import LogLocator, MaxNLocator

from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.pictures.history import Points, Series, axis_range, short_count, thin, value_text

WIDTH, HEIGHT = 420.0, 250.0  # of the view box, in CSS px at full size
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 30.0, 44.0  # margins around the axes
FEW_POINTS = 20  # up to this number, every point of a curve is marked
TICKS = 5
LEGEND_STEP = 190.0  # distance of two columns of the legend
LEGEND_LINE = 18.0  # distance of two lines of it
SHORT_NAME, LONG_NAME = 14, 46  # characters of a name in one of two columns, and in a single one
DASHES = ("", "7 3", "2 3")  # of the first curves, as many as there are colours, of the next ones, and so on


def _colours(theme: Theme) -> str:
    series = "".join(f"--series-{index}:{colour};" for index, colour in enumerate(theme.series))
    return f"--ink:{theme.ink};--muted:{theme.muted};--rule:{theme.rule};--card:{theme.card};{series}"


PLOT_RULES = """
.plot{display:block;width:100%;height:auto;font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
.plot text{fill:var(--muted)}.plot .word{fill:var(--ink);font-variant-numeric:tabular-nums}
.plot .grid{stroke:var(--rule);stroke-width:.8}.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.plot .band{opacity:.15}
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


def curves_svg(series: Series, *, label: str, bands: Mapping[str, Points] | None = None, order: Sequence[str] = ()) -> bytes:
    """Return one panel as a complete SVG file: value over images seen, thinned, the newest value in the legend.

    Args:
        series: the curves; their axis is logarithmic if ``series.log_scale``.
        label: description of the picture for screen readers.
        bands: name of a curve -> half the width of the band around it at each of its points; None: no bands.
        order: names in the order of the colours, among them those of the curves; empty: those of the curves.

    """
    bands = bands or {}
    curves = {name: thin(curve) for name, curve in series.curves.items()}
    across, up = _across(curves), _up(_with_bands(series, bands))
    parts = [*_grid(series, up), *_images_axis(curves, across)]
    longest = max(map(len, curves)) + (len("±0.012") if bands else 0)
    columns = 2 if longest <= SHORT_NAME or len(curves) == 1 else 1
    above = LEGEND_LINE * ((len(curves) - 1) // columns)  # height of the legend's lines beyond the first
    order = order or list(curves)
    for index, (name, curve) in enumerate(curves.items()):
        row, column = divmod(index, columns)
        place = LEFT - 44 + LEGEND_STEP * column, 15 - above + LEGEND_LINE * row
        band = thin(bands[name]) if name in bands else None
        words = name if len(curves) > 1 else "newest"
        newest = series.curves[name][-1][1]
        parts.append(_curve(order.index(name), words, curve, across, up, newest=newest, at=place, band=band))
    parts.append(f'<line class="at" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 {-above:g} {WIDTH:g} {HEIGHT + above:g}" role="img" '
        f'aria-label="{escape(label)}">{OWN_STYLE}{"".join(parts)}</svg>\n'
    ).encode()


def _with_bands(series: Series, bands: Mapping[str, Points]) -> Series:
    """Return a series whose values extend to the edges of the bands, for its axis."""
    edges = {
        f"{name} {sign:+}": tuple((seen, value + sign * half) for (seen, value), (_, half) in zip(series.curves[name], band, strict=True))
        for name, band in bands.items()
        for sign in (-1, 1)
    }
    return replace(series, curves={**series.curves, **edges})


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


def _curve(
    index: int,
    name: str,
    curve: Points,
    across: _Scale,
    up: _Scale,
    *,
    newest: float,
    at: tuple[float, float],
    band: Points | None,
) -> str:
    colour, dashes = index % len(LIGHT.series), DASHES[index // len(LIGHT.series) % len(DASHES)]
    places = [(f"{across(images):.1f}", f"{up(value):.1f}") for images, value in curve]
    points = " ".join(f"{x},{y}" for x, y in places)
    marks = _marks(places, colour) if len(curve) <= FEW_POINTS else ""
    (x, y), (left, base) = places[-1], at
    spreads = [f"±{half:.2g}" for _, half in band] if band is not None else [""] * len(curve)
    values = " ".join(f"{value:.4g}{spread}" for (_, value), spread in zip(curve, spreads, strict=True))
    images = " ".join(short_count(seen) for seen, _ in curve)
    shape = "" if band is None else f'<polygon class="band mark-{colour}" points="{_edges(curve, band, across, up)}"/>'
    line = f'class="line series-{colour}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    return (
        f'<g class="curve" data-points="{points}" data-values="{values}" data-images="{images}">{shape}'
        f'<polyline {line} points="{points}"/>{marks}<circle class="dot mark-{colour}" cx="{x}" cy="{y}" r="4"/>'
        f'<line {line} x1="{left}" x2="{left + 16}" y1="{base - 4:g}" y2="{base - 4:g}"/>'
        f'<text class="word" x="{left + 22}" y="{base:g}">'
        f'{escape(shorten(name))} <tspan class="value">{newest:.4g}{spreads[-1]}</tspan></text></g>'
    )


def _edges(curve: Points, band: Points, across: _Scale, up: _Scale) -> str:
    pairs = list(zip(curve, band, strict=True))
    upper = [(images, value + half) for (images, value), (_, half) in pairs]
    lower = [(images, value - half) for (images, value), (_, half) in reversed(pairs)]
    return " ".join(f"{across(images):.1f},{up(value):.1f}" for images, value in [*upper, *lower])


def shorten(name: str) -> str:
    """Return a name that fits a line of the legend: the middle of a longer one is left out."""
    half = LONG_NAME // 2 - 1
    return name if len(name) <= LONG_NAME else f"{name[:half]} … {name[-half:]}"


def _marks(places: Sequence[tuple[str, str]], colour: int) -> str:
    return "".join(f'<circle class="mark-{colour}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places)
