"""Curves as SVG: one picture for light and dark pages, with the value of every point in it, which the page shows on hover.

A page inlines the picture (``inline``), so that its colours follow the page; the file is complete by itself.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.ticker import LogLocator, MaxNLocator

from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.pictures.curves.history import ALL_LAYERS, IMAGES_SEEN, Points, Series, axis_range, short_count, thin, value_text

WIDTH, HEIGHT = 420.0, 250.0  # of the view box with one line of legend, in CSS px at full size
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 30.0, 44.0  # margins around the axes
FEW_POINTS = 20  # up to this number, every point of a curve is marked
TICKS = 5
LEGEND_STEP, LEGEND_LINE = 190.0, 18.0  # distance of two columns and of two lines of the legend
SHORT_NAME = 18  # characters; with a longer name the legend has one column
SPREAD = 7  # characters of "± 0.012", by which names must be shorter
LONG_NAME = 42  # characters that fit that column
LAYER_STEP = 98.0  # distance of two columns of the legend of layers
JOINT_STYLE = 'stroke="#808080" stroke-dasharray="6 4" style="stroke:var(--ink)"'  # of the curve of all layers
DASHES = 3  # solid, dashed and dotted, for curves of the same colour


def colours(theme: Theme) -> str:
    """Return the colours of plots as custom properties."""
    series = "".join(f"--series-{index}:{colour};" for index, colour in enumerate(theme.series))
    return f"--ink:{theme.ink};--muted:{theme.muted};--rule:{theme.rule};--card:{theme.card};{series}"


PLOT_RULES = """
.plot{display:block;width:100%;height:auto;font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
.plot text{fill:var(--muted)}.plot .word{fill:var(--ink);font-variant-numeric:tabular-nums}
.plot .grid{stroke:var(--rule);stroke-width:.8}.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.plot .dash-1{stroke-dasharray:6 4}.plot .dash-2{stroke-dasharray:2 3}
.plot .layer{stroke-width:1.2}.plot .near .line{stroke-width:2.8}
.plot .at{stroke:var(--muted);stroke-width:1;stroke-dasharray:3 3;visibility:hidden}
.plot.active .at{visibility:visible}
""" + "".join(
    f".plot .series-{index}{{stroke:var(--series-{index})}}.plot .mark-{index}{{fill:var(--series-{index});stroke:none}}"
    f".plot .band-{index}{{fill:var(--series-{index});fill-opacity:.15}}\n"
    for index in range(len(LIGHT.series))
)
"""Style of the plots; the colours are custom properties."""
OWN_STYLE = (
    f"<style>:root{{{colours(LIGHT)}}}@media (prefers-color-scheme:dark){{:root{{{colours(DARK)}}}}}"
    f"svg{{background:var(--card)}}{PLOT_RULES}</style>"
)
"""Style of a picture that is shown by itself."""
PAGE_STYLE = f":root{{{colours(LIGHT)}}}\n@media (prefers-color-scheme:dark){{:root{{{colours(DARK)}}}}}{PLOT_RULES}"
"""Style of a page with plots in it."""

SCRIPT = """
for(const plot of document.querySelectorAll("svg.plot")){
  const curves=[...plot.querySelectorAll(".curve")].map(g=>({group:g,word:g.querySelector(".value"),dot:g.querySelector(".dot"),
    rest:g.querySelector(".value")?.textContent,name:g.dataset.name,values:g.dataset.values.split(" "),at:g.dataset.at.split(" "),
    points:g.dataset.points.split(" ").map(p=>p.split(",").map(Number))}));
  if(!curves.length)continue;
  const line=plot.querySelector(".at"),axis=plot.querySelector(".axis"),rest=axis.textContent,link=plot.closest("a");
  const legend=plot.querySelector(".layers"),word=legend?.textContent;
  let chosen=null,near=0;
  const closest=(c,x)=>c.points.reduce((best,p,i)=>Math.abs(p[0]-x)<Math.abs(c.points[best][0]-x)?i:best,0);
  const show=x=>{
    curves.forEach((c,k)=>{const i=closest(c,x),[px,py]=c.points[i];
      if(c.dot){c.dot.setAttribute("cx",px);c.dot.setAttribute("cy",py)}
      if(c.word)c.word.textContent=c.values[i];
      if(k!==near)return;
      line.setAttribute("x1",px);line.setAttribute("x2",px);axis.textContent=rest+": "+c.at[i];chosen=i;
      if(legend){legend.textContent=c.name+"  "+c.values[i];curves.forEach(o=>o.group.classList.toggle("near",o===c))}});
    plot.classList.add("active")};
  const hide=()=>{for(const c of curves){const [x,y]=c.points[c.points.length-1];c.group.classList.remove("near");
      if(c.dot){c.dot.setAttribute("cx",x);c.dot.setAttribute("cy",y)}
      if(c.word)c.word.textContent=c.rest}
    axis.textContent=rest;chosen=null;if(legend)legend.textContent=word;plot.classList.remove("active")};
  plot.addEventListener("pointermove",e=>{const box=plot.getBoundingClientRect(),scale=plot.viewBox.baseVal.width/box.width;
    const x=(e.clientX-box.left)*scale,y=(e.clientY-box.top)*scale;
    if(legend){const far=c=>Math.abs(c.points[closest(c,x)][1]-y);near=curves.reduce((best,c,k)=>far(c)<far(curves[best])?k:best,0)}
    show(x)});
  plot.addEventListener("pointerleave",hide);
  if(link){link.addEventListener("blur",hide);
    link.addEventListener("keydown",e=>{
      const step={ArrowLeft:-1,ArrowRight:1}[e.key],other=legend&&{ArrowUp:-1,ArrowDown:1}[e.key];if(!step&&!other)return;
      e.preventDefault();
      const before=chosen===null?null:curves[near].points[chosen][0];
      if(other)near=Math.min(curves.length-1,Math.max(0,near+other));
      const points=curves[near].points,from=chosen===null?(step===1?-1:points.length):chosen;
      show(other?before??points[points.length-1][0]:points[Math.min(points.length-1,Math.max(0,from+step))][0])})}
}
"""
"""Shows the values below the pointer, or of the next point with the arrow keys, in the legend; up and down choose a layer."""


def curves_svg(series: Series, *, label: str, order: Sequence[str] = ()) -> bytes:
    """Return one panel as a complete SVG file: value over images seen, thinned, the newest value in the legend.

    Args:
        series: the curves; their axis is logarithmic if ``series.log_scale``. Layers have the colours of their depth and no dot, and the
            legend names the first, the last and that below the pointer.
        label: description of the picture for screen readers.
        order: names in the order of the colours, those of the curves among them; empty: the names of the curves.

    """
    curves = {name: thin(curve) for name, curve in series.curves.items()}
    columns = 1 if max(map(len, curves), default=0) > SHORT_NAME - (SPREAD if series.deviations else 0) else 2
    lines = 2 if series.layers else -(-len(curves) // columns)
    top = TOP + LEGEND_LINE * (lines - 1)
    height = HEIGHT + top - TOP
    across = _across(curves, log_scale=series.log_across)
    up = _Scale(*axis_range(series), height - BOTTOM, top, log_scale=series.log_scale)
    parts = [*_grid(series, up), *_horizontal_axis(series, across, height)]
    if series.layers:
        parts += _layers(curves, across, up)
    else:
        names = order or list(curves)
        for index, (name, curve) in enumerate(curves.items()):
            row, column = divmod(index, columns)
            place = (LEFT - 44 + LEGEND_STEP * column, 11 + LEGEND_LINE * row)
            parts.append(_curve(names.index(name), series, name, curve, across, up, place))
    parts.append(f'<line class="at" x1="0" x2="0" y1="{top:g}" y2="{height - BOTTOM:g}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
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


def _across(curves: Mapping[str, Points], *, log_scale: bool) -> _Scale:
    places = [x for curve in curves.values() for x, _ in curve]
    first, last = min(places, default=0.0), max(places, default=1.0)
    low = 0.0 if 0 <= first <= 0.25 * last and not log_scale else first
    return _Scale(low, last if last > low else low + 1, LEFT, WIDTH - RIGHT, log_scale=log_scale)


def deviation_text(deviation: float) -> str:
    """Return two digits of a standard deviation, without an exponent where they are in front of the point."""
    return f"{float(f'{deviation:.2g}'):g}"


def _ticks(scale: _Scale, log_scale: bool) -> list[float]:
    linear = MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10])
    logarithmic = LogLocator(subs=(1, 2, 5) if scale.high < 300 * scale.low else (1,))
    margin = 1e-9 * (scale.high - scale.low)
    for locator in (logarithmic, linear) if log_scale else (linear,):
        ticks = locator.tick_values(scale.low, scale.high)
        inside = [float(tick) for tick in ticks if scale.low - margin <= tick <= scale.high + margin]
        if len(inside) > 1:  # less than half a decade may hold none of 1, 2 and 5
            break
    return inside


def _grid(series: Series, up: _Scale) -> list[str]:
    parts = []
    for tick in _ticks(up, series.log_scale):
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value_text(0.0 if abs(tick) < 1e-12 else tick)}</text>')
    return parts


def _horizontal_axis(series: Series, across: _Scale, height: float) -> list[str]:
    places = {x for curve in series.curves.values() for x, _ in curve}
    ticks = sorted(places) if len(places) == 1 else _ticks(across, series.log_across)
    words = [f'<text x="{across(tick):.1f}" y="{height - BOTTOM + 18:g}" text-anchor="middle">{short_count(tick)}</text>' for tick in ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*words, f'<text class="axis" x="{middle:g}" y="{height - 6:g}" text-anchor="middle">{escape(series.across)}</text>']


def _points(curve: Points, across: _Scale, up: _Scale) -> list[str]:
    return [f"{across(x):.1f},{up(value):.1f}" for x, value in curve]


def _group(name: str, curve: Points, points: Sequence[str], values: Sequence[str], content: str) -> str:
    """Return the curve as a group that holds its values for the page's script."""
    return (
        f'<g class="curve" data-name="{escape(name)}" data-points="{" ".join(points)}" data-values="{" ".join(values)}" '
        f'data-at="{" ".join(short_count(x) for x, _ in curve)}">{content}</g>'
    )


def _curve(index: int, series: Series, name: str, curve: Points, across: _Scale, up: _Scale, place: tuple[float, float]) -> str:
    """Return one of a few curves, with its line of the legend at ``place``."""
    colour, dash = index % len(LIGHT.series), index // len(LIGHT.series) % DASHES
    style = f"line series-{colour}" + (f" dash-{dash}" if dash else "")
    values, newest, band = [f"{value:.4g}" for _, value in curve], f"{series.curves[name][-1][1]:.4g}", ""
    if name in series.deviations:
        pairs = zip(series.curves[name], series.deviations[name], strict=True)
        spread = [deviation for _, deviation in thin(tuple((x, deviation) for (x, _), deviation in pairs))]
        values = [f"{value}\u00a0±\u00a0{deviation_text(deviation)}" for value, deviation in zip(values, spread, strict=True)]
        newest = values[-1]
        low, high = (tuple((x, v + sign * more) for (x, v), more in zip(curve, spread, strict=True)) for sign in (-1, 1))
        edge = " ".join([*_points(low, across, up), *reversed(_points(high, across, up))])
        band = f'<polygon class="band-{colour}" points="{edge}"/>'
    points = _points(curve, across, up)
    places = [point.split(",") for point in points]
    marks = "".join(f'<circle class="mark-{colour}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places if len(places) <= FEW_POINTS)
    (x, y), (left, line) = places[-1], place
    word = shortened(name) if len(series.curves) > 1 or series.across != IMAGES_SEEN else "newest"
    content = (
        f'{band}<polyline class="{style}" points="{" ".join(points)}"/>{marks}<circle class="dot mark-{colour}" cx="{x}" cy="{y}" r="4"/>'
        f'<line class="{style}" x1="{left:g}" x2="{left + 16:g}" y1="{line:g}" y2="{line:g}"/><text class="word" x="{left + 22:g}" '
        f'y="{line + 4:g}">{escape(word)} <tspan class="value">{newest}</tspan></text>'
    )
    return _group(name, curve, points, values, content)


def shortened(name: str) -> str:
    """Return a name that fits a line of the legend: the middle of a longer one is left out."""
    half = LONG_NAME // 2 - 1
    return name if len(name) <= LONG_NAME else f"{name[:half]} … {name[-half:]}"


def _layers(curves: Mapping[str, Points], across: _Scale, up: _Scale) -> list[str]:
    """Return the curves of layers in the colours of their depth, and a legend of the first, the last, and the one below the pointer."""
    layers = [name for name in curves if name != ALL_LAYERS]
    styles = {name: _depth_style(index / max(1, len(layers) - 1)) for index, name in enumerate(layers)}
    parts = []
    for name, curve in curves.items():
        points = _points(curve, across, up)
        line = f'<polyline class="line layer" {styles.get(name, JOINT_STYLE)} points="{" ".join(points)}"/>'
        parts.append(_group(name, curve, points, [f"{value:.4g}" for _, value in curve], line))
    words = {"first layer": _depth_style(0.0)} | ({"last layer": _depth_style(1.0)} if len(layers) > 1 else {})
    words |= {"all": JOINT_STYLE} if ALL_LAYERS in curves else {}
    for place, (word, style) in enumerate(words.items()):
        left = LEFT - 44 + LAYER_STEP * place
        parts.append(f'<line class="line" {style} x1="{left:g}" x2="{left + 16:g}" y1="11" y2="11"/>')
        parts.append(f'<text class="word" x="{left + 22:g}" y="15">{word}</text>')
    return [*parts, f'<text class="layers word" x="{LEFT - 44:g}" y="{15 + LEGEND_LINE:g}"></text>']


def _depth_style(depth: float) -> str:
    """Return the colour of a layer, from 0 (first) to 1 (last); grey in a browser that cannot mix colours."""
    return f'stroke="#808080" style="stroke:color-mix(in oklab,var(--series-1) {100 * depth:.0f}%,var(--series-0))"'
