"""An endless walk through latents as a looped GIF: no visitor needs a player."""

import io

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gconv_gan.gallery.drawing import Drawing
from gconv_gan.gallery.grid import natural_scale, png_bytes, tile
from gconv_gan.gallery.latents import fixed_latents, slerp
from gconv_gan.gallery.subject import Subject, generate

FRAME_PIXELS = 2**14  # of a frame, at most: fewer images where they are large
MAX_BYTES = 1_000_000  # of the file; with more, every second frame is left out, again and again
PADDING = 1  # px between images, in the file
COLOURS = 255  # of all frames together; one of the 256 is the transparent gutter
MILLISECONDS = 80  # per frame of the full walk


def closed_walk(stops: Float[Tensor, "s d"], frames_per_leg: int) -> Float[Tensor, "f d"]:
    """Return a walk along great circles from stop to stop and back to the first, s * frames_per_leg steps, none of them twice."""
    steps = torch.linspace(0, 1, frames_per_leg + 1)[:-1]
    return torch.cat([slerp(start, stop, steps) for start, stop in zip(stops, stops.roll(-1, 0), strict=True)])


def gif_bytes(frames: list[UInt8[np.ndarray, "h w 4"]], *, milliseconds: int) -> bytes:
    """Return an endless GIF of RGBA frames whose pixels are opaque or transparent, with one palette for all: nothing flickers.

    Equal frames give equal bytes.
    """
    stacked = np.concatenate(frames)
    common = Image.fromarray(np.ascontiguousarray(stacked[..., :3])).quantize(COLOURS, dither=Image.Dither.NONE)
    indices = np.where(stacked[..., 3] > 0, np.asarray(common), COLOURS).astype(np.uint8)
    pictures = [Image.fromarray(part, mode="P") for part in np.split(indices, len(frames))]
    for picture in pictures:
        picture.putpalette((common.getpalette() or [])[: 3 * COLOURS])
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        loop=0,
        duration=milliseconds,
        transparency=COLOURS,
        disposal=2,
        optimize=False,
    )
    return buffer.getvalue()


def small_gif(frames: list[UInt8[np.ndarray, "h w 4"]]) -> bytes:
    """Return the frames as a GIF of at most ``MAX_BYTES``: of every frame, or every second, fourth, ... for as long."""
    stride = 1
    while True:
        content = gif_bytes(frames[::stride], milliseconds=stride * MILLISECONDS)
        if len(content) <= MAX_BYTES or stride >= len(frames) // 2:
            return content
        stride *= 2


def draw_walk(subject: Subject, *, seed: int, stops: int, frames_per_leg: int, tiles: int) -> list[Drawing]:
    """Several walks at once, each with its own latents and, where there are classes, its own class."""
    shown = max(1, min(tiles, FRAME_PIXELS // subject.image_size**2))
    latents = fixed_latents(seed, "walk", count=shown * stops, latent_dim=subject.latent_dim).view(shown, stops, -1)
    walks = torch.stack([closed_walk(row, frames_per_leg) for row in latents], 1)  # [frames, shown, d]
    y = None if subject.num_classes is None else torch.arange(shown).remainder(subject.num_classes).repeat(len(walks))
    images = generate(subject.generator, walks.flatten(0, 1), y).view(len(walks), shown, 3, subject.image_size, subject.image_size)
    columns = min(shown, 6)
    frames = [tile(frame, columns=columns, scale=1, padding=PADDING) for frame in images]
    still = tile(images[0], columns=columns, scale=1, padding=PADDING)
    return [
        Drawing(
            file="walk.gif",
            content=small_gif(frames),
            still=png_bytes(still),
            enlarged=natural_scale(subject.image_size, subject.image_size),
            title="A walk without end",
            caption=f"Each picture passes through {stops} latents and returns to its first"
            + ("." if y is None else "; its class stays.")
            + " It stands still where the system asks for less motion.",
            alt=f"Animation of {shown} generated images that change gradually and without end.",
        )
    ]
