"""An exported folder gives the run's images without the run, has a model card, and its ONNX file agrees at other batch sizes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gconv_gan.commands import export as recipe
from gconv_gan.commands import sample as sampling
from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.model_card import LICENCES, model_card
from gconv_gan.commands.onnx_file import onnx_difference, write_onnx
from gconv_gan.commands.score.scores import main as score
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.data.datasets import DATASETS
from gconv_gan.gallery.pictures.grid import read_tiles
from gconv_gan.metrics.images.sources import FakeSource
from tests.processes import run_python

CALLED = {"argument": "--class", "model": "tiny"}


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, exported without ONNX."""
    base = tmp_path_factory.mktemp("export")
    unscored = shutil.copytree(tiny_run, base / "run" / "tiny", ignore=shutil.ignore_patterns("scores"))  # other tests may score the run
    return recipe.export(recipe.ExportCommand(run=str(unscored), out=str(base / "tiny"), no_onnx=True))


def test_the_folder_alone_gives_the_run_s_images_to_another_process(tiny_run: Path, folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    expected = FakeSource(load_run(tiny_run).generator(), count=32, seed=5, batch_size=32).block(0)
    picture = tmp_path / "grid.png"
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "gconv_gan.sample", str(moved), "--num", "9", "--seed", "5", "--grid"]
    subprocess.run([*command, str(picture)], check=True, cwd=Path(__file__).parents[2])
    assert torch.equal(read_tiles(picture, side=8), expected[:9])


def test_image_i_depends_on_the_seed_and_i_alone(folder: Path) -> None:
    generator, _ = load_exported(folder)
    few, many = (sampling.sample(generator, count=count, seed=1) for count in (3, 300))
    assert many.shape == (300, 3, 8, 8)
    assert torch.equal(many[:3], few)
    assert not torch.equal(sampling.sample(generator, count=3, seed=2), few)


def test_a_class_is_drawn_alone_from_the_same_latents(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, description = load_exported(folder)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    for label in (3, 7):
        sampling.sample(generator, count=40, seed=0, counts=sampling.class_counts(description.classes, label))
    assert [set(y.tolist()) for _, y in seen] == [{3}, {3}, {7}, {7}]
    assert torch.equal(seen[0][0], seen[2][0])
    with pytest.raises(UserError, match="--class 10: the classes are 0 to 9"):
        sampling.class_number("10", description.classes, **CALLED)
    named = description.model_copy(update={"classes": ("cat", "dog", "2")})
    assert [sampling.class_number(word, named.classes, **CALLED) for word in ("cat", "dog", "1", "2")] == [0, 1, 1, 2]
    with pytest.raises(UserError, match=r"--class cta: the classes are 0 to 2 \(cat, dog, 2\); did you mean 'cat'\?"):
        sampling.class_number("cta", named.classes, **CALLED)
    unconditional = description.model_copy(update={"classes": ()})
    with pytest.raises(UserError, match="--class 3: tiny is unconditional and has no classes"):
        sampling.class_number("3", unconditional.classes, **CALLED)


def test_an_export_is_not_overwritten_and_a_folder_without_export_is_named(folder: Path, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already: remove it"):
        recipe.export(recipe.ExportCommand(run=str(tiny_run), out=str(folder), no_onnx=True))
    for stranger in (tmp_path, str(tmp_path)):
        with pytest.raises(UserError, match=r"is not an exported generator: .*config\.json is missing"):
            load_exported(stranger)


def test_a_folder_of_an_earlier_version_with_a_key_of_the_training_in_it_is_read(folder: Path, tmp_path: Path) -> None:
    earlier = Path(shutil.copytree(folder, tmp_path / "earlier"))
    description = json.loads((earlier / "config.json").read_text())
    for config in (description, description["run"]):
        config["generator"]["orthogonal"] = 1e-4
    (earlier / "config.json").write_text(json.dumps(description))
    _, read = load_exported(earlier)
    assert [(method.kind, method.generator) for method in read.run.methods] == [("orthogonal", 1e-4)]


def test_a_folder_may_be_given_as_text(folder: Path) -> None:
    by_text, by_path = (load_exported(given)[0] for given in (str(folder), folder))
    assert all(torch.equal(by_text.state_dict()[name], value) for name, value in by_path.state_dict().items())


def test_the_card_has_the_settings_of_the_config(folder: Path) -> None:
    card, config = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
    assert config["weights_sha256"] in card
    assert "480 real images seen, batch 16, n_dis 2" in card
    assert "CC BY 4.0" in card
    assert "These weights are not scored yet" in card
    generator, _ = load_exported(folder)
    assert f"{sum(p.numel() for p in generator.parameters()):,} parameters" in card


def test_the_card_quotes_the_scores_of_its_own_weights_alone(run: Path, judge: Path, folder: Path, tmp_path: Path) -> None:
    generator, description = load_exported(folder)
    small = ["--extractor", f"checkpoint:{judge}", "--num-fake", "520", "--num-real", "80", "--cache-dir", str(tmp_path / "cache")]
    out = tmp_path / "score.json"
    score([str(run), *small, "--json", str(out)])
    score([str(run), *small, "--checkpoint", "320"])
    score([str(run), *small, "--generator-weights", "raw"])
    (run / "scores" / "robustness.json").write_text('{"accuracy": 0.5}')  # of another test
    card = model_card(generator, description, run, onnx=None)
    assert card.count("| score | value |") == 1
    printed = {name: value for name, value in re.findall(r"^\| (\w+) \| ([-+.\de]+) \|$", card, re.MULTILINE)}
    assert printed == {name: f"{value:.6g}" for name, value in json.loads(out.read_text())["scores"].items()}
    assert {"fd", "is_mean", "precision"} <= printed.keys()
    assert "520 generated against 80 of " in card
    assert "ema weights at 480 images, chosen as last; BatchNorm eval, truncation none, labels uniform, seed 0." in card
    assert "not scored yet" not in card


@pytest.mark.parametrize(("text", "sentence"), [("{", "is damaged"), ('{"scores": {}, "card": {}}', "key 'card.formula' is required")])
def test_a_damaged_score_is_named(run: Path, folder: Path, text: str, sentence: str) -> None:
    generator, description = load_exported(folder)
    (run / "scores").mkdir(exist_ok=True)
    (run / "scores" / "x.json").write_text(text)
    with pytest.raises(UserError, match=rf"x\.json.*{sentence}"):
        model_card(generator, description, run, onnx=None)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100", "lsun_church", "tiny_imagenet", "stanford_dogs"])
def test_the_card_states_that_the_authors_give_no_licence(kind: str) -> None:
    assert LICENCES[kind].startswith("Not stated by the authors")


@pytest.mark.parametrize("kind", ["svhn", "celeba", "cub", "imagenet", "tiny_imagenet", "stanford_dogs"])
def test_the_card_states_non_commercial_terms(kind: str) -> None:
    assert "non-commercial" in LICENCES[kind].lower()


def test_every_kind_of_data_has_a_licence_line() -> None:
    assert LICENCES.keys() == DATASETS.keys()


def test_missing_onnx_packages_are_named_with_the_way_out(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ONNX needs onnx, onnxscript, onnxruntime: pip install 'gconv_gan\[onnx\]', or .*--no-onnx"):
        recipe.export(recipe.ExportCommand(run=str(tiny_run)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_agrees_at_other_batch_sizes_and_a_wrong_file_is_refused(folder: Path, tmp_path: Path) -> None:
    generator, _ = load_exported(folder)
    path = tmp_path / "generator.onnx"
    write_onnx(generator, path, advice="leave it out")
    assert onnx_difference(generator, path, advice="leave it out") < 1e-5
    with torch.no_grad():
        generator.to_rgb.bias += 0.1  # type: ignore[union-attr, operator]
    with pytest.raises(UserError, match=r"gives other images than the generator at batch 1 .*: leave it out"):
        onnx_difference(generator, path, advice="leave it out")


def test_a_process_that_only_exports_writes_a_checked_onnx_file(tiny_run: Path, tmp_path: Path) -> None:
    ended = run_python(["-m", "gconv_gan.export", str(tiny_run), "--out", str(tmp_path / "out")])
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "generator.onnx").is_file()
