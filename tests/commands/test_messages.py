"""Error messages name keys and flags of the command that was called, and a way out that applies to it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from gconv_gan.commands import compare_layers
from gconv_gan.commands.score import scores, statistics
from gconv_gan.commands.train import classifier, gan
from gconv_gan.config.errors import UserError
from gconv_gan.data import prepare

ROOT = Path(__file__).parents[2]
ABSENT = ["--reference", "cifar10:nowhere", "--extractor", "efficientnet_lite0"]


def refusal(main: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> str:
    with pytest.raises(UserError) as raised:
        main(arguments)
    return str(raised.value)


@pytest.mark.parametrize("dry_run", [["--dry-run"], []])
def test_messages_on_a_classifiers_test_data_name_their_keys(dry_run: list[str], tmp_path: Path) -> None:
    config = str(ROOT / "configs/classify/digits.toml")
    flags = ["--runs-dir", str(tmp_path), "--test-data.kind", "cifar10", "--test-data.path", str(tmp_path), "--test-data.size", "32"]
    flags += ["--data.kind", "folder", "--data.path", str(tmp_path / "pictures"), "--data.split", "None", "--data.size", "32"]
    pictures = tmp_path / "pictures" / "a"
    pictures.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(pictures / f"{number}.png")
    text = refusal(classifier.main, [config, *flags, *dry_run])
    assert text.startswith("test_data.path: looked for ")
    assert "set test_data.download = true" in text


@pytest.mark.parametrize(
    ("main", "arguments", "named"),
    [
        (scores.main, ["PICTURES", *ABSENT], ["--reference: looked for", "run gconv-gan prepare cifar10"]),
        (
            statistics.main,
            ["cifar10:nowhere", "--extractor", "efficientnet_lite0"],
            ["cifar10:nowhere: looked for", "gconv-gan prepare cifar10"],
        ),
        (
            compare_layers.main,
            [str(ROOT / "configs/compare/ghost.toml"), "--data-path", "nowhere.zip"],
            ["--data-path:", "nowhere.zip does not exist"],
        ),
    ],
)
def test_a_command_names_its_flags(
    main: Callable[[Sequence[str]], object], arguments: list[str], named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    text = refusal(main, [word.replace("PICTURES", "pictures") for word in arguments])
    for words in named:
        assert words in text
    assert "data.path" not in text
    assert "data.download" not in text


def test_prepare_names_its_flags(tmp_path: Path) -> None:
    shown = refusal(prepare.main, ["cifar10", "--path", str(tmp_path), "--download", "false"])
    assert "--path: looked for" in shown
    assert "set --download true" in shown


@pytest.mark.parametrize(
    ("flag", "way_out"),
    [
        ("--lr", "did you mean --generator-optimizer.learning-rate or --discriminator-optimizer.learning-rate?"),
        ("--generator-optimizer.lr", "did you mean --generator-optimizer.learning-rate?"),
        ("--ema.decay", "did you mean --ema.half-life-images?"),
        ("--batch-size", "did you mean --trainer.batch-size?"),
        ("--kimg", "did you mean --trainer.total-images?"),
        ("--resume", "the same command again resumes its run"),
        ("--gpus", "accelerate launch --num_processes N starts N processes"),
        ("--zzz", "--help lists the options"),
    ],
)
def test_another_platforms_flag_gives_the_corresponding_key(flag: str, way_out: str) -> None:
    text = refusal(gan.main, [str(ROOT / "configs/gan/digits_gconv.toml"), flag, "1"])
    assert text == f"command line: unknown option {flag}; {way_out}"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--trainer.batch-size", "x"], "--trainer.batch-size: 'x' is not a whole number"),
        (["--ema.half-life-images", "1e4"], "--ema.half-life-images: '1e4' is not a whole number"),
        (["--generator-optimizer.learning-rate", "fast"], "--generator-optimizer.learning-rate: 'fast' is not a number"),
        (["--data.kind", "celeba", "--data.size", "48"], "--data.size: '48' is not among 32, 64, 128"),
        (["--generator.attention", "a"], "--generator.attention: 'a' cannot be read; --help says what it takes"),
    ],
)
def test_a_wrong_value_is_one_sentence(flags: list[str], sentence: str) -> None:
    assert refusal(gan.main, [str(ROOT / "configs/gan/digits_gconv.toml"), *flags]) == f"command line: {sentence}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [("lr = 1e-3\n", "did you mean 'generator_optimizer.learning_rate or "), ("[ema]\ndecay = 0.9\n", "did you mean 'half_life_images'")],
)
def test_another_platforms_key_in_a_config_gives_the_corresponding_key(text: str, hint: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(text + '[data]\nkind = "digits"\n[generator]\nwidth = 8\n[discriminator]\nwidth = 8\n[trainer]\ntotal_images = 64\n')
    assert hint in refusal(gan.main, [str(config)])


def test_a_config_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("trainer:\n  total_images: 64\n")
    assert (
        refusal(gan.main, [str(config)])
        == f"{config}: a config is a TOML file (NAME.toml), or the config.json of a run; write its keys as TOML"
    )
