"""The dry run of a GAN prints the plan and writes nothing."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from gconv_gan.commands.train import gan
from gconv_gan.commands.train.dry_run import classifier_plan
from gconv_gan.commands.train.dry_run import gan_plan as plan
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, typed
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.sources import official
from tests.training.tiny import tiny, toml
from tests.training.tiny_classifier import tiny_classifier


def test_it_prints_config_networks_and_plan_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan.main([str(toml(tmp_path)), "--trainer.n-dis", "3", "--dry-run"])
    shown = capsys.readouterr().out
    config = json.JSONDecoder().raw_decode(shown)[0]
    assert config["trainer"]["n_dis"] == 3
    networks = build_networks(tiny(tmp_path, trainer={"n_dis": 3}), 10)
    totals = re.findall(r"^total: (\d+) params, (\d+) MACs$", shown, re.MULTILINE)
    assert [int(count) for count, _ in totals] == [sum(p.numel() for p in network.parameters()) for network in networks]
    # 480 images at 3 x 16 an iteration
    assert "steps: 10 generator steps, 30 discriminator steps, batch 16" in shown
    assert "checkpoints: 3 written, 3 kept" in shown
    assert re.search(r"^log: a status line every 32 images, about every [\d.e-]+ s, and at the end", shown, re.MULTILINE)
    assert not (tmp_path / "tiny").exists()
    f_g, f_d = (int(macs) for _, macs in totals)
    assert f"work: {48 * (f_g + 6 * f_d) + 16 * (3 * f_g + 2 * f_d):,} MACs per iteration" in shown


def test_images_that_are_held_out_are_counted_and_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan.main([str(toml(tmp_path)), "--trainer.held-out", "0.1", "--dry-run"])
    shown = capsys.readouterr().out
    counted = re.search(r"data: (\d+) of the images are held out of training \(trainer.held_out\), (\d+) are trained on", shown)
    assert counted is not None
    held_out, training = map(int, counted.groups())
    assert (held_out + training, abs(held_out - 36) < 6) == (359, True)  # rounded in every class
    assert f"images: 480 shown to the discriminator = {480 / training:.1f} epochs" in shown
    with pytest.raises(UserError, match=r"trainer\.held_out 0\.001 holds out 0 of 359 images: raise it, or set it to 0"):
        gan.main([str(toml(tmp_path)), "--trainer.held-out", "0.001", "--dry-run"])


def test_the_planned_disk_space_is_that_of_a_checkpoint(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_run.parent
    gan.main([str(toml(folder)), "--dry-run"])
    promised = re.search(r"disk: ([\d.]+) MiB per checkpoint", capsys.readouterr().out)
    assert promised is not None
    taken = sum(file.stat().st_size for file in (tiny_run / "checkpoint-480").glob("*.safetensors")) / 2**20
    assert float(promised[1]) == pytest.approx(taken, rel=0.35, abs=0.1)  # headers weigh in a network this small


CONFIGS = Path(__file__).parents[4] / "configs" / "gan"


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """A folder of 64 pictures, as flags that name it."""
    for index in range(64):
        Image.new("RGB", (70, 80), (4 * index, 0, 0)).save(tmp_path / f"{index}.png")
    return ["--data.kind", "folder", "--data.path", str(tmp_path), "--data.cache-dir", str(tmp_path / "cache")]


def test_a_dry_run_names_what_was_left_out(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(pictures[pictures.index("--data.path") + 1])
    (folder / "broken.jpg").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("")
    gan.main([str(CONFIGS / "cifar10_small.toml"), *pictures, "--data.damaged", "skip", "--dry-run"])
    printed = capsys.readouterr().out
    assert "data: 64 images of 32×32, " in printed
    assert "data: left out 1 of a kind that is not read as a picture (notes.txt)" in printed
    assert "data: left out 1 that cannot be used: broken.jpg (not a picture of a known format)" in printed


def test_a_dry_run_warns_of_maps_with_few_channels(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    small = [str(CONFIGS / "cifar10_small.toml"), *pictures, "--data.size", "64", "--dry-run"]
    gan.main(small)
    *warnings, few = re.findall(r"^warning: (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert few.startswith("64 images are few: without augmentation")
    assert warnings == [
        f"{name}.width = 32 leaves 2 channels to the narrowest feature map at 64 px, too few for good pictures: "
        f"{name}.width = 256 gives it 16"
        for name in ("generator", "discriminator")
    ]
    gan.main([*small, "--generator.width", "256", "--discriminator.width", "128", "--augment.kind", "ada"])
    assert re.findall(r"^warning: (\S+)", capsys.readouterr().out, re.MULTILINE) == ["discriminator.width", "64"]


def test_the_preset_for_user_pictures_has_enough_channels_in_every_map(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    gan.main([str(CONFIGS / "own64.toml"), *pictures, "--dry-run"])
    shown = capsys.readouterr().out
    assert "data: 64 images of 64×64, no classes" in shown
    (few,) = re.findall(r"^warning: (.*)$", shown, re.MULTILINE)
    assert few.startswith("64 images are few even with augmentation: fine-tune")


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_run_warns_of_maps_with_few_channels_at_its_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gan.main([str(toml(tmp_path)), "--generator.width", "16", "--trainer.total-images", "32"])
    told = [record.getMessage() for record in caplog.records if record.name == "gconv_gan.commands.train.gan"]
    sentence = "discriminator.width = 8 leaves 8 channels to the narrowest feature map at 8 px, too few for good pictures"
    narrow, few = told
    assert narrow == f"warning: {sentence}: discriminator.width = 16 gives it 16"
    assert "images are few" in few


def test_without_a_config_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    gan.main(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: {typed()} CONFIG [--KEY VALUE ...]")


def test_help_after_a_config_shows_every_kind_of_an_explicit_section(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gan.main([str(CONFIGS / "digits_gconv.toml"), "--help"])
    assert "--data.kind {digits,cifar10,cifar100," in capsys.readouterr().out


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download is a failure of the test."""

    def fetched(*_: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(official, "_download", fetched)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("kind", "classes"), [("cifar10", 10), ("cifar100", 100), ("svhn", 10), ("tiny_imagenet", 200), ("cub", 200), ("stanford_dogs", 120)]
)
def test_a_dry_run_downloads_no_data(tmp_path: Path, kind: str, classes: int) -> None:
    size = {"tiny_imagenet": "64", "cub": "64", "stanford_dogs": "64"}.get(kind, "32")
    flags = ["--data.kind", kind, "--data.path", str(tmp_path / "data"), "--data.download", "true", "--data.cache-dir", str(tmp_path / "c")]
    flags += ["--data.size", size, "--generator.width", "16", "--discriminator.width", "16", "--conditional", "true"]
    config = load_config(GANRunConfig, "configs/gan/cifar10_small.toml", flags)
    shown = plan.plan(config)
    assert f"data: {kind} is not in {tmp_path / 'data'} yet; the run would download it first (data.download = true)" in shown
    assert "epochs" not in shown
    assert f"total: {sum(p.numel() for p in build_networks(config, classes)[0].parameters())} params" in shown
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="looked for"):
        plan.plan(config.model_copy(update={"data": config.data.model_copy(update={"download": False})}))


@pytest.mark.usefixtures("no_network")
def test_classes_of_an_attribute_are_unknown_before_the_download(tmp_path: Path) -> None:
    flags = ["--data.kind", "celeba", "--data.labels", "Smiling", "--data.path", str(tmp_path), "--data.download", "true"]
    config = load_config(GANRunConfig, "configs/gan/cifar10_small.toml", [*flags, "--data.size", "32", "--conditional", "true"])
    with pytest.raises(UserError, match="celeba' is not known before the download, and a dry run downloads nothing: fetch it with"):
        plan.plan(config)


@pytest.mark.usefixtures("no_network")
def test_a_classifiers_dry_run_downloads_no_data(tmp_path: Path) -> None:
    flags = [f"--{data}.{key}" for data in ("data", "test-data") for key in ("path", "download")]
    values = [str(tmp_path / "data"), "true"] * 2
    arguments = [word for pair in zip(flags, values, strict=True) for word in pair]
    shown = classifier_plan.plan(load_config(ClassifierRunConfig, "configs/classify/wrn16_4_cifar10.toml", arguments))
    assert f"data: cifar10 is not in {tmp_path / 'data'} yet; the run would download it first" in shown
    assert "epochs" not in shown
    assert list(tmp_path.iterdir()) == []


def test_the_plan_counts_the_images_that_are_shown(tmp_path: Path) -> None:
    config = tiny(tmp_path, trainer={"total_images": 1300, "batch_size": 64, "n_dis": 3, "checkpoint_every": 1300})
    shown = plan.plan(config)
    assert "images: 1,344 shown to the discriminator = 3.7 epochs (trainer.total_images = 1,300, rounded up to a whole iteration)" in shown
    assert "steps: 7 generator steps, 21 discriminator steps" in shown
    assert "checkpoints: 1 written" in shown
    assert "rounded" not in plan.plan(tiny(tmp_path))


@pytest.mark.parametrize(("every", "written"), [(1, 15), (100, 5), (160, 3), (480, 1), (1000, 1)])
def test_the_planned_number_of_checkpoints_is_the_number_written(tmp_path: Path, every: int, written: int) -> None:
    config = tiny(tmp_path, trainer={"checkpoint_every": every})
    assert f"checkpoints: {written} written" in plan.plan(config)


def test_the_plan_of_a_classifier_counts_the_images_that_are_shown(tmp_path: Path) -> None:
    shown = classifier_plan.plan(tiny_classifier(tmp_path, trainer={"total_images": 500, "batch_size": 16}))
    assert "= 32 steps of 16 (trainer.total_images = 500, rounded up to a whole iteration)" in shown
    assert "images: 512 = " in shown
