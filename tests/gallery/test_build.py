import dataclasses
import json
from pathlib import Path

import pytest
import torch

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.latents import fixed_latents
from gconv_gan.gallery.page.manifest import Entry, read_manifest
from gconv_gan.gallery.pictures.drawing import Drawing, PictureKind
from gconv_gan.gallery.pictures.grid import grid_png, read_tiles
from gconv_gan.gallery.pictures.registry import PICTURES, draw_class_gates, draw_classes, draw_timeline, evenly
from gconv_gan.gallery.trained_generator import SAMPLE_BATCH, TrainedGenerator, generate
from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.models.gan.resnet import ResNetGenerator
from tests.gallery.conftest import LOW, changed_files, class_generator, file_among

FEW = {kind: PICTURES[kind] for kind in ("unconditional", "classes")}


class ClassGated(torch.nn.Module):
    """Images of one colour from a GConv whose gate sees the class beside the latent."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.latent_dim, self.num_classes, self.image_size = 4, 3, 8
        self.conv = GConv2d(1, 3, 1, latent_dim=7, gate_init_std=2.0)

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([z, torch.nn.functional.one_hot(y, 3).float()], 1)
        return self.conv(torch.ones(len(z), 1, 8, 8), Condition(seen)).tanh()


def test_the_manifest_describes_every_file(gallery: Path) -> None:
    files = {path.name for path in gallery.iterdir()}
    assert files == {entry.file for entry in read_manifest(gallery).pictures} | {"index.html", "manifest.json"}
    absent = {"gates-classes", "class-blend", "truncation-w", "methods", "curvature"}
    assert {entry.kind for entry in read_manifest(gallery).pictures} == set(PICTURES) - absent
    assert changed_files(gallery) == []


def redrawn(entry: Entry, trained: TrainedGenerator) -> bytes:
    """The file of an entry, drawn again from what the entry says."""
    return file_among(PICTURES[entry.kind].draw(trained, seed=entry.seed, **entry.parameters), entry.file)


def test_every_picture_can_be_drawn_again(gallery: Path, trained: TrainedGenerator) -> None:
    entries = {entry.kind: entry for entry in read_manifest(gallery).pictures}  # the last of each kind: later files, dark variants
    assert {entry.seed for entry in entries.values()} == {3}
    for entry in entries.values():
        assert redrawn(entry, trained) == (gallery / entry.file).read_bytes()


def test_another_seed_draws_other_pictures(trained: TrainedGenerator, gallery: Path) -> None:
    entry = next(entry for entry in read_manifest(gallery).pictures if entry.kind == "unconditional")
    assert redrawn(dataclasses.replace(entry, seed=4), trained) != (gallery / entry.file).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is not a gallery"), ("{", "is damaged"), ('{"format": 1}', "is damaged"), ('{"format": 2, "pictures": []}', "has format 2")],
)
def test_a_bad_manifest_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path)


def test_a_manifest_with_paths_outside_its_folder_is_refused(gallery: Path, tmp_path: Path, trained: TrainedGenerator) -> None:
    text = (gallery / "manifest.json").read_text()
    folder, victim = tmp_path / "gallery", tmp_path / "victim.png"
    folder.mkdir()
    victim.write_bytes(b"kept")
    (folder / "manifest.json").write_text(text.replace('"slerp.png"', '"../victim.png"'))
    with pytest.raises(UserError, match=r"names '\.\./victim\.png'"):
        build_gallery(folder, trained, pictures=FEW)
    assert victim.read_bytes() == b"kept"


def test_building_again_removes_what_is_no_longer_drawn_and_nothing_else(tmp_path: Path, trained: TrainedGenerator) -> None:
    build_gallery(tmp_path, trained, pictures=FEW)
    (tmp_path / "mine.png").write_bytes(b"kept")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    build_gallery(tmp_path, trained, pictures=FEW)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    build_gallery(tmp_path, trained, pictures={"unconditional": PICTURES["unconditional"]})
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "manifest.json", "unconditional.png", "mine.png"}


def test_files_of_others_are_not_overwritten(tmp_path: Path, trained: TrainedGenerator) -> None:
    for name, sentence in (("index.html", "is another page"), ("unconditional.png", "is not a file of an earlier gallery")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(b"<p>mine</p>")
        with pytest.raises(UserError, match=f"{name} {sentence} and is not overwritten"):
            build_gallery(folder, trained, pictures=FEW)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: b"<p>mine</p>"}


def test_a_gallery_that_was_not_finished_is_built_again(tmp_path: Path, trained: TrainedGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        if path.name == "index.html":
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr("gconv_gan.gallery.build.write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_gallery(tmp_path, trained, pictures=FEW)
    monkeypatch.undo()
    assert build_gallery(tmp_path, trained, pictures=FEW).is_file()


def test_a_new_picture_is_one_function_and_one_line(tmp_path: Path, trained: TrainedGenerator) -> None:
    def draw_twice(trained: TrainedGenerator, *, seed: int, word: str) -> list[Drawing]:
        return [Drawing("twice.png", b"\x89PNG" + bytes(12) + bytes([0, 0, 0, 5, 0, 0, 0, 7]), word, "A caption.", "An alternative.")]

    page = build_gallery(tmp_path, trained, pictures=FEW | {"twice": PictureKind("interpolation", draw_twice, {"word": "Doubled"})})
    assert "Doubled." in page.read_text()
    assert json.loads((tmp_path / "manifest.json").read_text())["pictures"][-1]["parameters"] == {"word": "Doubled"}
    again = {name: PictureKind("interpolation", draw_twice, {"word": "x"}) for name in ("one", "two")}
    with pytest.raises(ValueError, match="share a file name"):
        build_gallery(tmp_path, trained, pictures=FEW | again)


def test_an_image_does_not_depend_on_how_many_are_drawn(generator: ResNetGenerator) -> None:
    z = fixed_latents(0, "test", count=SAMPLE_BATCH + 9, latent_dim=6)
    y = torch.arange(len(z)) % 3
    images = generate(generator, z, y)
    assert images.shape == (SAMPLE_BATCH + 9, 3, 8, 8)
    direct = (127.5 * generator(z, y).detach() + 128).clamp(0, 255)
    assert (images - direct).abs().max() < 1.01
    one_by_one = torch.cat([generate(generator, z[i : i + 1], y[i : i + 1]) for i in range(3)])
    assert (one_by_one.int() - images[:3].int()).abs().max() <= 1


def test_an_unconditional_run_without_records_has_samples_and_walks_only(tmp_path: Path, trained: TrainedGenerator) -> None:
    torch.manual_seed(0)
    bare = TrainedGenerator(
        ResNetGenerator(image_size=8, width=4, latent_dim=6).eval(), dataclasses.replace(trained.run, class_names=(), details={}), LOW
    )
    build_gallery(tmp_path, bare)
    assert {path.name for path in tmp_path.iterdir()} == {
        "unconditional.png",
        "slerp.png",
        "walk.gif",
        "walk-still.png",
        "truncation.png",
        "manifest.json",
        "index.html",
    }


def test_the_rows_of_a_sheet_share_batches_and_equal_images_of_their_class_alone(trained: TrainedGenerator) -> None:
    generator = class_generator()
    drawn: list[int] = []
    sheets = [trained.numbered(4, 32, label=index) for index in range(3)]
    with torch.no_grad():
        alone = torch.cat([generator(sheet.z, sheet.y)[:12] for sheet in sheets])
    generator.register_forward_pre_hook(lambda _, inputs: drawn.append(len(inputs[0])))
    (drawing,) = draw_classes(dataclasses.replace(trained, generator=generator), seed=4, columns=12, classes_per_sheet=3)
    assert drawn == [32, 32]  # 36 images in whole batches
    assert drawing.content == grid_png(alone, columns=12)


def test_many_classes_are_spread_over_sheets(trained: TrainedGenerator) -> None:
    drawings = draw_classes(trained, seed=0, columns=2, classes_per_sheet=2)
    assert [(drawing.file, drawing.row_labels) for drawing in drawings] == [
        ("classes-000.png", ("cat", "dog")),
        ("classes-002.png", ("cow",)),
    ]


def test_the_timeline_shows_the_same_tiles_of_each_moment_in_order(tmp_path: Path, trained: TrainedGenerator) -> None:
    shuffled = dataclasses.replace(trained, timeline=tuple(reversed(trained.timeline)))
    (drawing,) = draw_timeline(shuffled, seed=0, moments=2, columns=4)
    assert drawing.row_labels == ("0", "1.2k")
    (tmp_path / "timeline.png").write_bytes(drawing.content)
    rows = read_tiles(tmp_path / "timeline.png", side=8).view(2, 4, 3, 8, 8)
    for row, (_, path) in zip(rows, [trained.timeline[0], trained.timeline[-1]], strict=True):
        assert torch.equal(row, read_tiles(path, side=8)[[0, 9, 19, 29]])


def test_evenly_spaced_choices_include_both_ends() -> None:
    assert evenly(list(range(100)), 4) == [0, 33, 66, 99]
    assert evenly([1, 2], 4) == [1, 2]
    assert evenly([1, 2, 3], 1) == [1]


def test_class_conditional_gates_have_a_gate_map_of_classes(trained: TrainedGenerator) -> None:
    assert draw_class_gates(trained, seed=0, latents_per_class=4) == []  # these gates see the latent alone
    gated = dataclasses.replace(trained, generator=ClassGated())
    (drawing,) = draw_class_gates(gated, seed=0, latents_per_class=4)
    assert drawing.title == "conv"
    assert "3 classes by 3 kernels" in drawing.alt
    assert drawing.facts["kernels"] == "3"
