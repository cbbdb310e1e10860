import dataclasses

import numpy as np
import pytest
import torch

from gconv_gan.gallery.pictures.neighbours import draw_feature_neighbours, draw_pixel_neighbours, in_pixels, nearest, training_tiles
from gconv_gan.gallery.trained_generator import FeatureExtractor, TrainedGenerator, TrainingImages


def test_neighbours_are_those_of_the_whole_matrix_whatever_the_tiles() -> None:
    draw = torch.Generator().manual_seed(0)
    rows, queries = torch.randn(50, 7, generator=draw), torch.randn(4, 7, generator=draw)
    expected = (queries[:, None].double() - rows.double()).square().sum(2).sqrt().sort(dim=1)
    for size in (1, 7, 50):
        tiles = ((start, rows[None, start : start + size]) for start in range(0, 50, size))
        distances, numbers = nearest(queries, tiles, count=5)
        assert torch.equal(numbers, expected.indices[:, :5])
        torch.testing.assert_close(distances, expected.values[:, :5], rtol=1e-12, atol=0)


def test_a_copy_is_at_distance_zero_and_a_mirrored_copy_only_where_training_saw_it(images: np.ndarray) -> None:
    queries = in_pixels(torch.from_numpy(images[[3]]).flip(3))
    for mirrored in (True, False):
        training = TrainingImages(images, "noise", "ab" * 32, mirrored=mirrored)
        distances, numbers = nearest(queries, training_tiles(training, in_pixels), count=2)
        assert (float(distances[0, 0]) == 0 and int(numbers[0, 0]) == 3) == mirrored
        assert len(set(numbers[0].tolist())) == 2


def test_pixel_distance_is_in_grey_levels() -> None:
    dark = torch.full((1, 3, 4, 4), 10, dtype=torch.uint8)
    distances, _ = nearest(in_pixels(dark), [(0, in_pixels(dark + 5)[None])], count=1)
    assert float(distances) == pytest.approx(5, rel=1e-12)


def test_the_drawing_finds_a_planted_copy(trained: TrainedGenerator, images: np.ndarray) -> None:
    assert draw_pixel_neighbours(dataclasses.replace(trained, training=None), seed=0, samples=2, nearest=3) == []
    assert draw_feature_neighbours(dataclasses.replace(trained, extractor=None), seed=0, samples=2, nearest=3) == []
    bright = FeatureExtractor("brightness", lambda batch: batch.flatten(1).float().mean(1, keepdim=True))
    training = TrainingImages(images, "noise", "ab" * 32, mirrored=False)
    (drawing,) = draw_feature_neighbours(dataclasses.replace(trained, training=training, extractor=bright), seed=0, samples=2, nearest=3)
    assert drawing.facts["training images searched"] == "30"
    assert len(drawing.facts["row 1"].split(", ")) == 3
    assert "features of brightness" in drawing.caption


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
