"""Samples of a gallery: the command shown for one makes it, to the last bit."""

import dataclasses
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gconv_gan.commands import sample as sampling
from gconv_gan.commands.gallery import trained_generator
from gconv_gan.commands.train import gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import left_edges, natural_scale
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.training.tiny import tiny

SMALLER = {"logit-ranking": {"classes": 2, "candidates": 32, "kept": 2}, "neighbours-pixels": {"samples": 3, "nearest": 2}}


@pytest.fixture(scope="module")
def trained(tiny_run: Path) -> TrainedGenerator:
    return trained_generator(load_run(tiny_run), tiny_run)


def tile_of(drawing: Drawing, row: int, column: int, *, side: int) -> np.ndarray:
    """The pixels of one image of a grid at the size of the generator."""
    scale = natural_scale(side, side)
    step = side * scale + 2
    top, left = step * row, left_edges([columns for _, columns in drawing.groups] or [len(drawing.samples[0])], step)[column]
    with Image.open(io.BytesIO(drawing.content)) as grid:
        pixels = np.array(grid.convert("RGB"))[top : top + side * scale : scale, left : left + side * scale : scale]
    return pixels


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> TrainedGenerator:
    """A run of a generator with a mapping network."""
    folder = tmp_path_factory.mktemp("mapped")
    gan.fit(tiny(folder, generator={"mapping": {"kind": "mlp", "width": 8, "depth": 2}}, trainer={"total_images": 32}))
    return trained_generator(load_run(folder / "tiny"), folder / "tiny")


@pytest.mark.parametrize("kind", ["unconditional", "classes", "truncation", "truncation-w", "logit-ranking", "neighbours-pixels"])
def test_the_command_of_a_sample_makes_its_pixels(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained: TrainedGenerator = request.getfixturevalue("mapped" if kind == "truncation-w" else "trained")
    drawing = PICTURES[kind].draw(trained, seed=5, **{**PICTURES[kind].parameters, **SMALLER.get(kind, {})})[0]
    found = [(row, column) for row, line in enumerate(drawing.samples) for column, sample in enumerate(line) if sample is not None]
    for row, column in (found[0], found[-1]):
        sample = drawing.samples[row][column]
        assert sample is not None
        program, verb, *arguments = shlex.split(sample.command)
        assert (program, verb) == ("gconv-gan", "sample")
        sampling.main(arguments)
        (file,) = Path(arguments[-1]).rglob("*.png")
        assert file.parent.name == sample.class_name
        with Image.open(file) as image:
            assert np.array_equal(np.array(image), tile_of(drawing, row, column, side=trained.image_size))


def test_the_command_of_a_run_with_plug_ins_names_them(tiny_run: Path) -> None:
    run = load_run(tiny_run)
    run = dataclasses.replace(run, config=run.config.model_copy(update={"plugins": ("my parts.py", "other.parts")}))
    command = shlex.split(trained_generator(run, tiny_run).samples(0, 1)[0].command)
    assert command[2:8] == [str(tiny_run), "--plugins", "my parts.py", "other.parts", "--checkpoint", str(run.images_seen)]
