"""Every mistake in a file or on the command line gives one sentence with the source, the dotted key and, if near, the right name."""

import re
from pathlib import Path

import pytest

from gconv_gan.commands.sample import SampleCommand
from gconv_gan.config.ablations import AblationConfig
from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.config.sections.scores import ScoreCommand

ROOT = Path(__file__).parents[2]

MINIMAL = """
[data]
kind = "digits"
[generator]
width = 32
[discriminator]
width = 32
[trainer]
total_images = 1_000
"""


def write(folder: Path, text: str, name: str = "run.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(path: Path, *overrides: str) -> GANRunConfig:
    return load_config(GANRunConfig, path, overrides)


def test_a_file_becomes_a_frozen_config_named_after_it(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL, "my_run.toml"))
    assert config.name == "my_run"
    assert config.trainer.total_images == 1000
    assert config.generator.conv.kind == "plain"
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_a_saved_config_reads_back_equal(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL + '[generator.conv]\nkind = "gconv"\nmode = "bank"\n'))
    saved = write(tmp_path, config.model_dump_json(), "config.json")
    assert load(saved) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("width = 32\n[disc", "widht = 32\n[disc"), r"run\.toml: unknown key 'generator\.widht'; did you mean 'width'\?"),
        (MINIMAL.replace("total_images = 1_000", ""), r"run\.toml: key 'trainer\.total_images' is required"),
        (MINIMAL.replace("width = 32\n[disc", 'width = "32"\n[disc'), r"run\.toml: generator\.width: .*valid integer.* got '32'"),
        (MINIMAL.replace("width = 32\n[disc", "width = true\n[disc"), r"run\.toml: generator\.width: .*integer"),
        (MINIMAL.replace("width = 32\n[disc", "width = -3\n[disc"), r"run\.toml: generator\.width: .*greater than 0, got -3"),
        (MINIMAL + "[ema]\nramp = inf\n", r"run\.toml: ema\.ramp: .*finite"),
        (MINIMAL.replace('"digits"', '"digitz"'), r"run\.toml: data\.kind = 'digitz' is not among .*; did you mean 'digits'\?"),
        (MINIMAL.replace('kind = "digits"\n', ""), r"run\.toml: key 'data\.kind' is required"),
        (MINIMAL + '[generator.conv]\nkind = "gcnov"\n', r"run\.toml: generator\.conv\.kind = 'gcnov' .*did you mean 'gconv'\?"),
        (MINIMAL + '[generator.conv]\nkind = "gconv"\nmodee = "bank"\n', r"unknown key 'generator\.conv\.modee'; did you mean 'mode'\?"),
        (
            MINIMAL + '[generator.conv]\nkind = "plain"\nmode = "bank"\n',
            r"key 'generator\.conv\.mode' belongs to kind gconv.*, but generator\.conv\.kind = 'plain'; set that kind",
        ),
        ('name = "bad/name"' + MINIMAL, r"run\.toml: name: a name has letters, digits, \. _ - only, .*, got 'bad/name'"),
        (MINIMAL + "[trainer]\n", r"run\.toml is not valid TOML"),
        (MINIMAL + "batch_size = 10\nmicro_batches = 3\n", r"trainer: batch_size 10 is not divisible by micro_batches 3"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load(write(tmp_path, text))
    assert "\n" not in str(refusal.value).strip()


def test_a_missing_file_suggests_one_of_a_similar_name(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "cifar10.toml")
    with pytest.raises(UserError, match=r"cifar1\.toml does not exist; did you mean .*cifar10\.toml\?"):
        load(tmp_path / "cifar1.toml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--generator.widht", "3"], r"command line: unknown option --generator\.widht; did you mean --generator\.width\?"),
        (["--generator.width", "wide"], r"command line: .*generator\.width.*"),
        (["--generator.width", "-1"], r"command line: --generator\.width: .*greater than 0, got -1"),
        (["--data.kind", "foldr"], r"command line: --data\.kind 'foldr' is not among .*; did you mean 'folder'\?"),
        (["--data.kind", "folder"], r"command line: --data\.path must be given"),
        (["--generatr.conv.kind", "gconv"], r"--generatr\.conv\.kind names no part of the config; did you mean 'generator'\?"),
        (
            ["--generator.conv.mode", "bank"],
            r"^command line: --generator\.conv\.mode belongs to --generator\.conv\.kind gconv.*, but the kind is plain; give that kind",
        ),
        (["--name", "bad/name"], r"^command line: --name: a name has letters, digits, \. _ - only, and begins with .*, got 'bad/name'$"),
        (["--objective.loss", "hing"], r"^command line: --objective\.loss: 'hing' is not among hinge, .*; did you mean 'hinge'\?$"),
        (["--objective.loss", "rpgan"], r"'rpgan' is not among hinge, non_saturating, .*relativistic_pairing$"),
        (["--conditional", "maybe"], r"^command line: --conditional: 'maybe' is not among true, false$"),
        (["--data.kind"], r"command line: --data\.kind needs a value"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load(write(tmp_path, MINIMAL), *overrides)
    assert "\n" not in str(refusal.value).strip()


def test_overrides_change_values_and_kinds(tmp_path: Path) -> None:
    networks = "--generator.width 128 --generator.conv.mode bank --generator.conv.kind gconv --discriminator.norm.kind conv_norm"
    rest = "--trainer.batch-size 32 --seed 7 --data.kind=folder --data.path my.zip --data.split train"
    config = load(write(tmp_path, MINIMAL), *networks.split(), *rest.split())
    assert (config.generator.width, config.trainer.batch_size, config.seed) == (128, 32, 7)
    assert (config.generator.conv.kind, config.generator.conv.mode) == ("gconv", "bank")
    assert isinstance(config.data, FolderDataConfig)
    assert (config.data.path, config.data.split) == ("my.zip", "train")
    assert config.discriminator.norm.kind == "conv_norm"


@pytest.mark.parametrize("word", ["true", "True"])
def test_a_boolean_is_written_as_in_the_file(word: str, tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert load(path, "--data.flip", word).data.flip is True
    assert load(path, "--conditional", "false").conditional is False
    with pytest.raises(UserError, match=r"--data\.flip"):
        load(path, "--data.flip", "yes")


def test_another_kind_keeps_the_fields_it_shares(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL.replace('kind = "digits"', 'kind = "digits"\nflip = true\nsplit = "train"'))
    config = load(path, "--data.kind", "cifar10")
    assert config.data.kind == "cifar10"
    assert config.data.flip
    assert config.data.split == "train"


def test_help_shows_the_values_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        load(write(tmp_path, MINIMAL.replace("total_images = 1_000", "total_images = 12345")), "--help")
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert "--trainer.total-images" in shown
    assert "12345" in shown
    assert "Length of the run" in shown


@pytest.mark.parametrize(
    ("model", "file", "sentence"),
    [
        (GANRunConfig, "configs/classify/digits.toml", "digits.toml is a classifier's config: use gconv-gan classify"),
        (ClassifierRunConfig, "configs/gan/cifar10_small.toml", "cifar10_small.toml is a GAN's config: use gconv-gan train"),
        (GANRunConfig, "configs/compare/elu.toml", "elu.toml is an ablation: use gconv-gan ablate"),
        (AblationConfig, "configs/gan/cifar10_small.toml", "cifar10_small.toml is a GAN's config: use gconv-gan train"),
    ],
)
def test_a_config_of_another_command_is_recognised(model: type[Config], file: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"{re.escape(sentence)}$"):
        load_config(model, ROOT / file)


def test_a_key_of_another_command_among_valid_ones_is_an_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key 'test_data'"):
        load(write(tmp_path, MINIMAL + '[test_data]\nkind = "digits"\n'))


def test_a_folder_as_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder, not a config file; give a \.toml file$"):
        load(tmp_path)
    saved = write(tmp_path, "{}", "config.json")
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder, not a config file; give {saved}$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("model", "arguments", "sentence"),
    [
        (SampleCommand, ["folder", "--num", "0"], "command line: --num: Input should be greater than 0, got 0"),
        (SampleCommand, [], "command line: RUN|FOLDER is missing: A run folder, or the folder that gconv-gan export wrote"),
        (ScoreCommand, ["run", "--checkpoint", "bst"], "command line: --checkpoint: 'bst' is not a whole number or best"),
        (
            ScoreCommand,
            ["run", "--metrics", "fidd"],
            "command line: --metrics: 'fidd' is not among .*(fid, |, fid;).*did you mean 'fid'",
        ),
    ],
)
def test_a_mistake_in_a_command_is_one_sentence(model: type[Config], arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}") as refusal:
        parse_command(model, arguments)
    assert "Command" not in str(refusal.value)
