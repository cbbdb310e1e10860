import io

import numpy as np
import torch
from PIL import Image

from gconv_gan.gallery.pictures.walk import MAX_BYTES, closed_walk, draw_walk, small_gif
from gconv_gan.gallery.trained_generator import TrainedGenerator


def test_a_walk_passes_its_stops_and_closes_with_steps_of_one_size_to_a_leg() -> None:
    stops = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    walk = closed_walk(stops, 4)
    torch.testing.assert_close(walk[::4], stops)
    unit = nn_normalise(walk)
    angles = (unit * unit.roll(-1, 0)).sum(1).acos().view(3, 4)
    torch.testing.assert_close(angles, angles[:, :1].expand_as(angles), rtol=1e-4, atol=1e-5)


def nn_normalise(rows: torch.Tensor) -> torch.Tensor:
    return rows.double() / rows.double().norm(dim=1, keepdim=True)


def test_the_gif_is_an_endless_animation_with_transparent_gutters(trained: TrainedGenerator) -> None:
    (drawing,) = draw_walk(trained, seed=0, stops=2, frames_per_leg=3, tiles=2)
    picture = Image.open(io.BytesIO(drawing.content))
    assert (picture.format, picture.info["loop"], getattr(picture, "n_frames", 1)) == ("GIF", 0, 6)
    frame = np.asarray(picture.convert("RGBA"))
    assert frame.shape == (8, 17, 4)
    assert frame[:, 8, 3].max() == 0
    assert frame[:, :8, 3].min() == 255
    assert drawing.files().keys() == {"walk.gif", "walk-still.png"}
    assert draw_walk(trained, seed=0, stops=2, frames_per_leg=3, tiles=2)[0].content == drawing.content


def test_a_large_animation_loses_frames_not_its_length() -> None:
    draw = np.random.default_rng(0)
    frames = [draw.integers(0, 256, (200, 200, 4), dtype=np.uint8) | np.array([0, 0, 0, 255], dtype=np.uint8) for _ in range(48)]
    content = small_gif(frames)
    picture = Image.open(io.BytesIO(content))
    assert len(content) <= MAX_BYTES
    assert getattr(picture, "n_frames", 1) * picture.info["duration"] == 48 * 80
