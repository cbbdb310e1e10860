"""A closed path through latents as a looped GIF."""

import io

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gconv_gan.gallery.latents import fixed_latents, slerp
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import natural_scale, png_bytes, tile
from gconv_gan.gallery.trained_generator import TrainedGenerator, generate

FRAME_PIXELS = 2**14  # largest number of pixels of a frame, which limits the number of images
MAX_BYTES = 1_000_000  # largest size of the file; above it, every second frame is left out, repeatedly
PADDING = 1  # px between images, in the file
COLOURS = 255  # number of colours of all frames; one of the 256 is the transparent gutter
MILLISECONDS = 80  # per frame of the full walk


def closed_walk(stops: Float[Tensor, "s d"], frames_per_leg: int) -> Float[Tensor, "f d"]:
    """Return a closed path along great circles through all stops: s * frames_per_leg latents without repetition."""
    steps = torch.linspace(0, 1, frames_per_leg + 1)[:-1]
    return torch.cat([slerp(start, stop, steps) for start, stop in zip(stops, stops.roll(-1, 0), strict=True)])


def gif_bytes(frames: list[UInt8[np.ndarray, "h w 4"]], *, milliseconds: int) -> bytes:
    """Return a looped GIF of RGBA frames whose pixels are opaque or transparent; all frames share one palette, which avoids flicker.

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
    """Return the frames as a GIF of at most ``MAX_BYTES``: every frame or, at the same duration, every second, fourth, ..."""
    stride = 1
    while True:
        content = gif_bytes(frames[::stride], milliseconds=stride * MILLISECONDS)
        if len(content) <= MAX_BYTES or stride >= len(frames) // 2:
            return content
        stride *= 2


def draw_walk(trained: TrainedGenerator, *, seed: int, stops: int, frames_per_leg: int, tiles: int) -> list[Drawing]:
    """Return one animation of several paths, each with its own latents and, in a conditional generator, its own class."""
    shown = max(1, min(tiles, FRAME_PIXELS // trained.image_size**2))
    latents = fixed_latents(seed, "walk", count=shown * stops, latent_dim=trained.latent_dim).view(shown, stops, -1)
    walks = torch.stack([closed_walk(row, frames_per_leg) for row in latents], 1)  # [frames, shown, d]
    y = None if trained.num_classes is None else torch.arange(shown).remainder(trained.num_classes).repeat(len(walks))
    images = rearrange(generate(trained.generator, walks.flatten(0, 1), y), "(frame tile) c h w -> frame tile c h w", tile=shown)
    columns = min(shown, 6)
    frames = [tile(frame, columns=columns, scale=1, padding=PADDING) for frame in images]
    still = tile(images[0], columns=columns, scale=1, padding=PADDING)
    return [
        Drawing(
            file="walk.gif",
            content=small_gif(frames),
            still=png_bytes(still),
            enlarged=natural_scale(trained.image_size, trained.image_size),
            title="Latent walk",
            caption=f"Each picture passes through {stops} latents and returns to its first"
            + ("." if y is None else "; its class stays.")
            + " A still frame is shown if the system requests reduced motion.",
            alt=f"Animation of {shown} generated images that change gradually in a loop.",
        )
    ]
