import io

import numpy as np
import torch
from PIL import Image

from gconv_gan.gallery.pictures.grid import grid_png, tile
from gconv_gan.gallery.pictures.headed_grids import HEADING, MARGIN, HeadedGrid, headed_grids


def test_the_grids_stand_side_by_side_below_their_headings_with_unchanged_pixels() -> None:
    images = [torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8) for seed in (0, 1)]
    titles = ("plain", "a heading that is far too long for a grid of two small images and is cut")
    grids = [HeadedGrid(title, "words", grid_png(one, columns=2)) for title, one in zip(titles, images, strict=True)]
    content = headed_grids(grids)
    picture = np.asarray(Image.open(io.BytesIO(content)))
    side = tile(images[0], columns=2).shape[0]
    assert picture.shape == (HEADING + side + MARGIN, 2 * side + 3 * MARGIN, 3)
    for index, one in enumerate(images):
        left = MARGIN + index * (side + MARGIN)
        grid = tile(one, columns=2)
        found, opaque = picture[HEADING : HEADING + side, left : left + side], grid[..., 3] == 255
        assert (found[opaque] == grid[opaque][:, :3]).all()
        assert (picture[:HEADING, left : left + side] < 100).any()  # text
    assert (picture[:, MARGIN + side : 2 * MARGIN + side] == 255).all()  # nothing between them
    assert content == headed_grids(grids)
