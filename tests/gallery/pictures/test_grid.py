import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.pictures.grid import (
    GROUP_PADDING,
    PADDING,
    as_bytes,
    grid_png,
    left_edges,
    natural_scale,
    read_tiles,
    save_grid,
    tile,
)


def random_bytes(count: int, side: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_a_value_that_is_not_a_number_is_refused() -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 0, 2, 2] = torch.nan
    with pytest.raises(ValueError, match="not numbers"):
        as_bytes(images)


def test_every_pixel_of_the_grid_is_where_it_belongs() -> None:
    images, columns, scale, padding = random_bytes(5, 4), 3, 2, 1
    grid = tile(images, columns=columns, scale=scale, padding=padding)
    assert grid.shape == (2 * 8 + 1, 3 * 8 + 2, 4)
    step = 4 * scale + padding
    for y in range(grid.shape[0]):
        for x in range(grid.shape[1]):
            index = y // step * columns + x // step
            if index < 5 and y % step < 4 * scale and x % step < 4 * scale:
                expected = [*images[index, :, y % step // scale, x % step // scale].tolist(), 255]
            else:
                expected = [255, 255, 255, 0]
            assert grid[y, x].tolist() == expected


@pytest.mark.parametrize(("side", "scale"), [(8, 8), (28, 2), (32, 2), (33, 1), (64, 1), (128, 1)])
def test_small_images_are_enlarged_by_whole_numbers(side: int, scale: int) -> None:
    assert natural_scale(side, side) == scale


def test_equal_images_give_equal_bytes_without_metadata() -> None:
    content = grid_png(random_bytes(6, 8), columns=3)
    assert content == grid_png(random_bytes(6, 8), columns=3)
    assert content != grid_png(random_bytes(6, 8, seed=1), columns=3)
    chunks, position = set(), 8
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        chunks.add(name.decode())
        position += 12 + length
    assert chunks == {"IHDR", "IDAT", "IEND"}


@pytest.mark.parametrize(("count", "side", "columns"), [(7, 8, 3), (4, 32, 4), (2, 64, 1), (3, 16, 9)])
def test_a_saved_grid_gives_its_images_back(tmp_path: Path, count: int, side: int, columns: int) -> None:
    images = random_bytes(count, side)
    save_grid(images, tmp_path / "new" / "grid.png", columns=columns)
    assert torch.equal(read_tiles(tmp_path / "new" / "grid.png", side=side), images)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]


def test_a_grid_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((66 + PADDING, 64, 3), dtype=np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(UserError, match=r"other\.png is 64 x 68 px: not a grid of 8 px images"):
        read_tiles(tmp_path / "other.png", side=8)


@pytest.mark.parametrize("arguments", [{"columns": 0}, {"columns": 2, "scale": 0}, {"columns": 2, "padding": -1}])
def test_impossible_layouts_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="columns >= 1"):
        tile(random_bytes(2, 8), **arguments)


def test_groups_of_columns_are_apart() -> None:
    images = torch.full((6, 3, 4, 4), 9, dtype=torch.uint8)
    whole, parted = tile(images, columns=3, scale=1), tile(images, columns=3, scale=1, groups=(1, 2))
    opaque = np.flatnonzero(parted[0, :, 3])
    assert opaque.tolist() == [left + pixel for left in left_edges((1, 2), 6) for pixel in range(4)]
    assert parted.shape[1] - whole.shape[1] == GROUP_PADDING - PADDING
    with pytest.raises(ValueError, match="are not the 3 columns"):
        tile(images, columns=3, groups=(1, 1))
