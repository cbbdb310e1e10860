"""Heat maps of the gates of a GConv layer, as SVG that holds every gate, which the page shows on hover and by the arrow keys."""

import base64
import json
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from torch import Tensor, nn

from gconv_gan.gallery.pictures.curves.curves_svg import OWN_STYLE, WIDTH
from gconv_gan.gallery.pictures.gates import normalised_entropy, strongest_first
from gconv_gan.gallery.pictures.grid import png_bytes, tile

COLOUR_MAP = "viridis"
ROW_HEIGHT = 24.0  # of the view box, in CSS px at full size, as all sizes here
MAX_HEIGHT = 800.0  # with more rows than fit, rows become thinner and a subset is labelled
MIN_LINE = 15.0  # between two labels
CHARACTER = 7.7  # width of a letter
TOP, BOTTOM, RIGHT, GAP, SCALE_WIDTH = 40.0, 42.0, 60.0, 10.0, 80.0
STRIP = 32  # px: larger samples are reduced towards it, because every map holds them
LABEL_LENGTH = 14  # characters
MIN_SCALE = 1e-12  # end of the colour scale if all gates are 0

SCRIPT = """
for(const map of document.querySelectorAll("svg.map")){
  const {left,top,width,height,rows,names}=JSON.parse(map.dataset.gates),word=map.querySelector(".axis"),rest=word.textContent;
  const cell=map.querySelector(".cell"),link=map.closest("a"),columns=rows[0].length;let at=null;
  const show=(row,column)=>{at=[row,column];word.textContent=names[row]+", kernel "+(column+1)+": "+rows[row][column];
    const w=width/columns,h=height/rows.length;
    for(const [name,value] of Object.entries({x:left+column*w,y:top+row*h,width:w,height:h}))cell.setAttribute(name,value);
    cell.style.visibility="visible"};
  const hide=()=>{at=null;word.textContent=rest;cell.style.visibility="hidden"};
  const within=(value,count)=>Math.min(count-1,Math.max(0,value));
  map.addEventListener("pointermove",e=>{const box=map.getBoundingClientRect(),scale=map.viewBox.baseVal.width/box.width;
    const column=Math.floor(((e.clientX-box.left)*scale-left)/width*columns);
    const row=Math.floor(((e.clientY-box.top)*scale-top)/height*rows.length);
    if(rows[row]?.[column]===undefined)hide();else show(row,column)});
  map.addEventListener("pointerleave",hide);
  if(link){link.addEventListener("blur",hide);
    link.addEventListener("keydown",e=>{const step={ArrowLeft:[0,-1],ArrowRight:[0,1],ArrowUp:[-1,0],ArrowDown:[1,0]}[e.key];
      if(!step)return;e.preventDefault();
      if(at)show(within(at[0]+step[0],rows.length),within(at[1]+step[1],columns));else show(0,0)})}
}
"""
"""Shows the gate below the pointer, or the next with the arrow keys, in the words below the map."""


def gate_map_svg(
    gates: Float[Tensor, "r n"],
    *,
    names: Sequence[str],
    label: str,
    images: UInt8[Tensor, "r 3 h w"] | None = None,
    largest: float | None = None,
) -> bytes:
    """Return a heat map as an SVG file: a row per latent or class with its entropy, a column per kernel, the largest mean first.

    The colour scale goes from zero to the largest possible gate, so that nearly equal gates have nearly equal colours.

    Args:
        gates: one row per line of the map.
        names: of the rows.
        label: description of the picture for screen readers.
        images: the picture that each row's latent generates, shown instead of its name.
        largest: the value that no gate can exceed; None: there is none, and the scale ends at the largest of ``gates``.

    Raises:
        ValueError: if the number of names is not that of the rows, or a gate is negative.

    """
    rows, kernels = gates.shape
    if len(names) != rows:
        raise ValueError(f"a gate map of {rows} rows needs as many names, not {len(names)}")
    entropies = normalised_entropy(gates).tolist()
    values = gates[:, strongest_first(gates)].float().numpy()
    strongest = max(float(values.max()), MIN_SCALE) if largest is None else largest
    height = min(MAX_HEIGHT, ROW_HEIGHT * rows)
    short = [name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…" for name in names]
    left = GAP + (height / rows if images is not None else CHARACTER * max(map(len, short)))
    width = WIDTH - RIGHT - left
    parts = [
        _image(colours(values / strongest), left, TOP, width, height),
        _image(colours(np.linspace(0, 1, 64)[None]), left, 8.0, SCALE_WIDTH, 12.0),
        f'<text x="{left + SCALE_WIDTH + 8:g}" y="18">gate from 0 to {strongest:.3g}</text>',
        f'<text x="{WIDTH - RIGHT + 6:g}" y="{TOP - 8:g}">entropy</text>',
    ]
    if images is not None:
        side = height / rows
        small = nn.functional.avg_pool2d(images.float(), max(1, images.shape[-1] // STRIP)).byte()
        parts.append(_image(tile(small, columns=1, scale=1, padding=0), left - side - GAP / 2, TOP, side, height))
    step = -(-rows // int(height / MIN_LINE))
    for row in range(0, rows, step):
        y = TOP + (row + 0.5) * height / rows + 4
        if images is None:
            parts.append(f'<text class="word" x="{left - GAP / 2:g}" y="{y:.1f}" text-anchor="end">{escape(short[row])}</text>')
        parts.append(f'<text x="{WIDTH - RIGHT + 6:g}" y="{y:.1f}">{entropies[row]:.2f}</text>')
    ends = {0.5: "1", kernels - 0.5: str(kernels)}
    for place, word in ends.items():
        parts.append(f'<text x="{left + place * width / kernels:.1f}" y="{TOP + height + 16:g}" text-anchor="middle">{word}</text>')
    parts.append(
        f'<text class="axis" x="{left + width / 2:.1f}" y="{TOP + height + 34:g}" text-anchor="middle">kernels, strongest first</text>'
        '<rect class="cell" fill="none" stroke="#f0307a" stroke-width="3" style="visibility:hidden"/>'
    )
    held = {
        "left": round(left, 1),
        "top": TOP,
        "width": round(width, 1),
        "height": round(height, 1),
        "names": list(names),
        "rows": [[float(f"{value:.3g}") for value in row] for row in values.tolist()],
    }
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot map" viewBox="0 0 {WIDTH:g} {TOP + height + BOTTOM:g}" role="img" '
        f'aria-label="{escape(label)}" data-gates="{escape(json.dumps(held, separators=(",", ":"), ensure_ascii=False))}">'
        f"{OWN_STYLE}{''.join(parts)}</svg>\n"
    ).encode()


def colours(shares: Float[np.ndarray, "r n"]) -> UInt8[np.ndarray, "r n 3"]:
    """Return the colours of shares of the largest gate, a pixel each."""
    pixels: UInt8[np.ndarray, "r n 3"] = colormaps[COLOUR_MAP](shares, bytes=True)[..., :3]
    return pixels


def _image(pixels: UInt8[np.ndarray, "h w c"], x: float, y: float, width: float, height: float) -> str:
    data = base64.b64encode(png_bytes(pixels)).decode()
    return (
        f'<image x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    )
