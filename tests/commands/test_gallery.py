"""Samples of a gallery: the command shown for one makes it, to the last bit. Scores of plug-ins have the direction of their metric."""

import dataclasses
import io
import json
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gconv_gan.commands import gallery, runs
from gconv_gan.commands import sample as sampling
from gconv_gan.commands.gallery import trained_generator
from gconv_gan.commands.train import gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import left_edges, natural_scale
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.trained_generator import TrainedGenerator
from gconv_gan.metrics.tables import lower_is_better
from tests.processes import run_python
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


PLUG_IN = """
from gconv_gan import parts
from gconv_gan.metrics.metric import Metric, Numbers


class Roughness(Metric):
    lower_is_better = ("roughness",)

    def numbers(self, seen):
        roughness = float(seen.fake_moments.covariance.trace())
        return Numbers({"roughness": roughness, "smoothness": 1 / roughness})


parts.METRICS["roughness"] = Roughness
"""


def test_a_plug_in_s_score_has_its_direction_on_page_index_and_list_where_the_plug_in_is_not_loaded(
    run: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(PLUG_IN)
    options = ["--metrics", "roughness", "--num-fake", "64", "--num-real", "64", "--extractor", f"checkpoint:{judge}"]
    scored = run_python(["-m", "gconv_gan", "curve", str(run), "--plugins", "mine.py", *options, "--cache-dir", "cache"], tmp_path)
    assert scored.returncode == 0, scored.stderr
    numbers = [json.loads(file.read_text())["scores"]["roughness"] for file in (run / "scores").glob("*.json")]
    assert (len(numbers), len(set(numbers)), "roughness" in lower_is_better()) == (3, 3, False)
    monkeypatch.setattr(gallery, "build_gallery", partial(build_gallery, pictures={"unconditional": PICTURES["unconditional"]}))
    gallery.main([str(run), "--index", str(tmp_path)])
    page = (run / "gallery" / "index.html").read_text()
    for key, way in (("roughness", "lower"), ("smoothness", "higher")):
        assert f'{key} <span role="img" aria-label="{way} is better"' in page
    assert re.search(rf"<b>{min(numbers):.4g}</b> <span>roughness, .*, lower is better</span>", (tmp_path / "index.html").read_text())
    capsys.readouterr()
    runs.main([str(tmp_path)])
    assert f"/roughness {min(numbers):.4g}" in capsys.readouterr().out
