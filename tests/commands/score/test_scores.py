"""gan_metrics from its command line: a run, a folder, a zip; data sets, pictures and statistics as reference; one pass for all."""

import json
import os
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image

from gconv_gan.commands.score.references import STATISTICS
from gconv_gan.commands.score.scores import jobs_of, main, score_file
from gconv_gan.commands.train.networks import TrainedRun
from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.scores import ScoreOptions
from gconv_gan.metrics.protocols import PROTOCOLS, Protocol
from gconv_gan.metrics.references import reference_statistics
from gconv_gan.metrics.score_card import Score
from tests.processes import run_python

ROOT = Path(__file__).resolve().parents[3]
ALL = ["fd", "is_mean", "is_std", "kid_mean", "kid_std", "precision", "recall", "density", "coverage"]
SMALL = ["--num-fake", "120", "--num-real", "90"]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two folders of 8x8 pictures, and the first of them as a zip."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = torch.Generator().manual_seed(0)
    for name, count in (("fakes", 40), ("reals", 50)):
        (folder / name).mkdir()
        for i, image in enumerate(torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=draw)):
            Image.fromarray(image.numpy()).save(folder / name / f"{i:03}.png")
    shutil.make_archive(str(folder / "fakes"), "zip", folder / "fakes")
    return {"fakes": folder / "fakes", "zip": folder / "fakes.zip", "reals": folder / "reals"}


def scored(arguments: list[str], folder: Path) -> list[Score]:
    """Return the scores that the command writes with --json."""
    out = folder / "out" / "scores.json"
    main([*arguments, "--cache-dir", str(folder / "cache"), "--json", str(out)])
    content = json.loads(out.read_text())
    return [Score.model_validate_json(json.dumps(one)) for one in (content if isinstance(content, list) else [content])]


def test_a_run_against_its_training_data(run: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [found] = scored([str(run), "--extractor", f"checkpoint:{judge}", *SMALL], tmp_path)
    assert list(found.scores) == ALL
    card = found.card
    assert (card.formula.protocol, card.formula.num_fake, card.formula.num_real) == (
        "fd1k_classifier (num_fake=120, num_real=90)",
        120,
        90,
    )
    assert (card.fakes.images_seen, card.fakes.weights, card.fakes.labels, card.fakes.batch_norm) == (480, "ema", "uniform", "eval")
    assert (card.reference.source, card.reference.split) == ("digits", "test")
    assert card.extractor.name == "checkpoint:digits_classifier"
    printed = capsys.readouterr().out
    assert f"fd         {found.scores['fd']:.6g}" in printed
    [kept] = (run / "scores").glob("*.json")
    assert Score.model_validate_json(kept.read_text()) == found
    assert kept.name == "fd1k_classifier-num_fake=120-num_real=90-checkpoint-480.json"


def test_metrics_can_be_named_and_scores_of_other_extractors_are_not_called_fid(run: Path, judge: Path, tmp_path: Path) -> None:
    [found] = scored([str(run), "--metrics", "fid", "kid", "--extractor", f"checkpoint:{judge}", *SMALL], tmp_path)
    assert list(found.scores) == ["fd", "kid_mean", "kid_std"]


def test_checkpoints_weights_seeds_and_batch_norm_are_options_and_on_the_card(run: Path, judge: Path, tmp_path: Path) -> None:
    base = [str(run), "--metrics", "fid", "--extractor", f"checkpoint:{judge}", *SMALL]
    variants = {
        "": [],
        "earlier": ["--checkpoint", "160"],
        "raw": ["--generator-weights", "raw"],
        "seed": ["--seed", "1"],
        "standing": ["--batch-norm", "standing"],
        "batch": ["--batch-norm", "batch"],
        "empirical": ["--labels", "empirical"],
    }
    found = {name: scored([*base, *flags], tmp_path)[0] for name, flags in variants.items()}
    assert len({one.scores["fd"] for one in found.values()}) == len(variants)
    assert len(list((run / "scores").glob("*.json"))) == len(variants)  # each has its own file
    cards = {name: one.card.fakes for name, one in found.items()}
    assert (cards["earlier"].images_seen, cards["raw"].weights, cards["seed"].seed) == (160, "raw", 1)
    assert (cards["standing"].batch_norm, cards["batch"].batch_norm) == ("standing, 16 batches of 64", "batch of 64")
    assert cards["empirical"].labels == "empirical"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every call of a run's generator."""
    calls: list[int] = []
    built = TrainedRun.generator

    def counted(self: TrainedRun, weights: Literal["ema", "raw"] = "ema") -> torch.nn.Module:
        generator = built(self, weights)
        generator.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
        return generator

    monkeypatch.setattr(TrainedRun, "generator", counted)
    return calls


def test_several_protocols_and_extractors_come_from_one_pass(
    run: Path, judge: Path, tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (100, 300):
        monkeypatch.setitem(
            PROTOCOLS, f"fd{count}", Protocol(name=f"fd{count}", metrics=("fid",), extractor=None, num_fake=count, split="any")
        )
    monkeypatch.setattr("gconv_gan.commands.score.scores.NUM_FAKE", 520)  # of "images", which takes as many as there are
    other = shutil.copytree(judge, tmp_path / "other")
    common = ["--metrics", "fid", "--num-real", "90"]
    both = ["--extractor", f"checkpoint:{judge}", f"checkpoint:{other}"]
    found = scored([str(run), "--protocol", "fd100", "fd300", "images", *both, *common], tmp_path)
    assert [one.card.formula.num_fake for one in found] == [100, 100, 300, 300, 520, 520]
    assert sum(asked) == 544  # each once, in whole batches of 32
    for one in found[::2]:  # each equals the score of a separate command bit for bit, and so does the hash of its images
        name = one.card.formula.protocol.split(" (")[0]
        [alone] = scored([str(run), "--protocol", name, "--extractor", f"checkpoint:{judge}", *common], tmp_path)
        assert alone.scores == one.scores
        assert alone.card.fakes == one.card.fakes
        assert alone.card.formula == one.card.formula


@pytest.mark.parametrize("source", ["fakes", "zip"])
def test_pictures_against_pictures(source: str, pictures: dict[str, Path], judge: Path, tmp_path: Path) -> None:
    flags = ["--reference", str(pictures["reals"]), "--extractor", f"checkpoint:{judge}"]
    [found] = scored([str(pictures[source]), *flags], tmp_path)
    assert list(found.scores) == ALL
    assert (found.card.formula.protocol, found.card.formula.num_fake, found.card.formula.num_real) == ("images", 40, 50)
    [other] = scored([str(pictures["fakes"]), *flags], tmp_path)
    assert other.scores == found.scores


def test_pictures_against_a_named_data_set(pictures: dict[str, Path], judge: Path, tmp_path: Path) -> None:
    flags = ["--reference", "digits", "--reference-split", "test", "--extractor", f"checkpoint:{judge}", "--metrics", "fid"]
    [found] = scored([str(pictures["fakes"]), *flags], tmp_path)
    assert (found.card.reference.source, found.card.reference.split) == ("digits", "test")
    assert found.card.formula.num_real == 359


def test_cached_statistics_as_reference(pictures: dict[str, Path], judge: Path, tmp_path: Path) -> None:
    flags = [str(pictures["fakes"]), "--extractor", f"checkpoint:{judge}"]
    [direct] = scored([*flags, "--reference", str(pictures["reals"])], tmp_path)
    [folder] = (tmp_path / "cache" / STATISTICS).iterdir()
    [stored] = scored([*flags, "--reference", str(folder)], tmp_path)
    assert stored.scores == direct.scores
    assert stored.card.reference == direct.card.reference


def test_two_commands_may_compute_one_reference_at_once(
    pictures: dict[str, Path], judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [str(pictures["fakes"]), "--extractor", f"checkpoint:{judge}", "--reference", str(pictures["reals"])]
    save, others = reference_statistics.save_tensors, []

    def slow(tensors: dict[str, torch.Tensor], file: Path) -> None:
        save(tensors, file)
        if not others:  # the other command runs completely while this one writes
            others.append("begun")
            others.append(scored(flags, tmp_path)[0].scores)

    monkeypatch.setattr(reference_statistics, "save_tensors", slow)
    [found] = scored(flags, tmp_path)
    assert others[1] == found.scores
    assert [path.is_dir() for path in (tmp_path / "cache" / STATISTICS).iterdir()] == [True]


def test_each_protocol_compares_with_its_own_split(run: Path, judge: Path, tmp_path: Path) -> None:
    flags = [str(run), "--protocol", "fid50k_train", "fid10k_test", "--metrics", "fid", "--extractor", f"checkpoint:{judge}", *SMALL]
    assert [one.card.reference.split for one in scored(flags, tmp_path)] == ["train", "test"]
    with pytest.raises(UserError, match="protocol fid50k_train .* compares with the train split, not test: give --reference-split train"):
        scored([*flags, "--reference-split", "test"], tmp_path)


def test_intra_class_distances_of_a_labelled_generator(run: Path, judge: Path, pictures: dict[str, Path], tmp_path: Path) -> None:
    flags = ["--metrics", "fid", "intra_fid", "--extractor", f"checkpoint:{judge}", "--num-fake", "200"]
    [found] = scored([str(run), *flags], tmp_path)
    assert found.per_class is not None
    assert list(found.per_class) == [str(digit) for digit in range(10)]
    assert found.scores["intra_fd"] == pytest.approx(sum(found.per_class.values()) / 10, rel=1e-12)
    fakes, reals = found.card.formula.intra_num_fake, found.card.formula.intra_num_real
    assert fakes is not None
    assert reals is not None
    assert (len(fakes), sum(fakes), len(reals), sum(reals)) == (10, 200, 10, 359)
    [again] = scored([str(run), *flags], tmp_path)  # from cached statistics, which hold the classes
    assert again.per_class == found.per_class
    with pytest.raises(UserError, match="intra_fid compares class by class, but the scored images have no classes"):
        scored([str(pictures["fakes"]), *flags[:-2], "--reference", "digits"], tmp_path)
    with pytest.raises(UserError, match="needs two images of every class"):
        scored([str(run), *flags[:-1], "12"], tmp_path)


def test_wrong_input_is_one_sentence(run: Path, judge: Path, pictures: dict[str, Path], tmp_path: Path) -> None:
    judged = ["--extractor", f"checkpoint:{judge}"]
    cases = {
        "--reference is needed": [str(pictures["fakes"]), *judged],
        "neither a folder, zip or tar nor a data set; known are digits": [str(pictures["fakes"]), "--reference", "cifar", *judged],
        "there is no protocol 'fid_50k'": [str(run), "--protocol", "fid_50k", *judged],
        "there is no extractor 'incepton'": [str(run), "--extractor", "incepton"],
        "named twice": [str(run), "--protocol", "fid2k", "fid2k", *judged],
        "takes none": [str(run), *judged, "--weights", "x.pth"],
        "has no checkpoint at 7 images": [str(run), *judged, "--checkpoint", "7"],
        "8 images are too few for is under protocol .*, which needs 10": [str(run), *judged, "--metrics", "is", "--num-fake", "8"],
        "2 images are too few for prdc": [str(run), *judged, "--metrics", "prdc", "--num-fake", "2"],
        f"{tmp_path / 'nowhere'} does not exist": [str(tmp_path / "nowhere"), "--reference", "digits", *judged],
        f"{tmp_path / 'tiyn'} does not exist; did you mean {run}\\?": [str(tmp_path / "tiyn"), "--reference", "digits", *judged],
        "neither a folder nor a whole zip or tar of pictures": [__file__, "--reference", "digits", *judged],
        "there is no protocol 'fid5k_lite0'; known are .*; did you mean 'fd5k_lite0'": [str(run), "--protocol", "fid5k_lite0"],
        "there is no extractor 'inceptionv3'; known are .*; did you mean 'inception'": [str(run), "--extractor", "inceptionv3"],
        "only 359: set --num-real to at most that": [str(run), *judged, "--num-real", "60000"],
        "unknown option --num-fakes": [str(run), "--num-fakes", "3"],
    }
    for message, arguments in cases.items():
        with pytest.raises(UserError, match=message):
            scored(arguments, tmp_path)


@pytest.mark.parametrize("flag", ["--num-fake", "--num-real"])
def test_a_single_image_is_refused(run: Path, judge: Path, tmp_path: Path, flag: str) -> None:
    with pytest.raises(UserError, match=rf"^command line: {flag}: Input should be greater than or equal to 2, got 1$"):
        scored([str(run), "--extractor", f"checkpoint:{judge}", *SMALL, flag, "1"], tmp_path)


def test_a_folder_of_one_picture_is_refused(pictures: dict[str, Path], judge: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(pictures["fakes"] / "000.png", tmp_path / "one")
    flags = ["--extractor", f"checkpoint:{judge}"]
    with pytest.raises(UserError, match="1 images are too few for fid"):
        scored([str(tmp_path / "one"), "--reference", str(pictures["reals"]), *flags], tmp_path)
    with pytest.raises(UserError, match="the reference .*one holds a single image: a score needs at least two"):
        scored([str(pictures["fakes"]), "--reference", str(tmp_path / "one"), *flags], tmp_path)


def test_where_scores_cannot_be_written_nothing_is_scored(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^--json .*file is a file, not a folder"):
        main([str(run), "--json", str(tmp_path / "file" / "scores.json")])
    with pytest.raises(UserError, match=r"^--json .* is a folder; name a file$"):
        main([str(run), "--json", str(tmp_path)])


def test_two_processes_print_what_one_does(run: Path, judge: Path, tmp_path: Path) -> None:
    """As accelerate launch starts them: the same images, the same numbers, one file."""
    command = [str(run), "--extractor", f"checkpoint:{judge}", "--num-fake", "600", "--cache-dir", str(tmp_path / "cache")]  # 3 blocks
    words = [str(ROOT / "eval" / "gan_metrics.py"), *command, "--json", str(tmp_path / "two.json")]
    done = run_python(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, launched=2)
    assert done.returncode == 0, done.stderr
    two = Score.model_validate_json((tmp_path / "two.json").read_text())
    [one] = scored(command[:-2], tmp_path)
    assert two.scores == pytest.approx(one.scores, rel=1e-12)  # the last bits of BLAS depend on memory alignment
    assert two.card.fakes == one.card.fakes  # with the hash of all images
    assert (two.card.run.processes, one.card.run.processes) == (2, 1)
    assert done.stdout.count("written to") == 2  # the run's file and --json, once each


def test_files_of_scores_are_named_after_what_was_changed_and_keep_an_earlier_name(tmp_path: Path) -> None:
    (job,) = jobs_of(ScoreOptions(protocol=("fid2k",), metrics=("fid", "kid"), extractor=("inception:clean_fid",)), generated=True)
    file = score_file(tmp_path, ScoreOptions(seed=3), job, 480)
    assert file.name == "fid2k-extractor=inception_clean_fid-metrics=fid+kid-inception_clean_fid-seed3-480.json"
    (tmp_path / "scores").mkdir()
    (plain,) = jobs_of(ScoreOptions(protocol=("fid2k",), num_real=300), generated=True)
    earlier = tmp_path / "scores" / "fid2k__num_real_300_-inception-480.json"
    earlier.write_text("{}")
    assert score_file(tmp_path, ScoreOptions(), plain, 480) == earlier


def test_too_few_reals_are_refused_before_weights_are_looked_for(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2000 images are asked for, but there are only 359: set --num-real to at most that"):
        main([str(tiny_run), "--protocol", "fid2k", "--weights", str(tmp_path / "absent.pth"), "--cache-dir", str(tmp_path)])
