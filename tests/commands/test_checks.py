"""A run and its dry run refuse the same configs with the same message, and neither leaves a run folder."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from gconv_gan.commands.train import classifier, gan
from gconv_gan.commands.train.dry_run import step_time
from gconv_gan.config.errors import FullDiskError, GuardError, StoppedBySignalError, UserError
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.step import finish_step
from tests.data.made import noise, save
from tests.data.sources.test_webdataset import sample, write
from tests.training.tiny import toml
from tests.training.tiny_classifier import tiny_classifier


def unlabelled(root: Path, count: int = 40) -> dict[str, Any]:
    """Return the data section of ``count`` pictures without classes."""
    for i in range(count):
        save(root / "flat" / f"{i}.png", noise(i, 8, 8, 3))
    return {"kind": "folder", "path": str(root / "flat"), "size": 8, "cache_dir": str(root / "cache")}


def with_gaps(root: Path, labels: tuple[int, ...] = (0, 7), names: int | None = None) -> dict[str, Any]:
    """Return the data section of a tar with twenty samples of each of ``labels``."""
    path = write(root / "gaps" / "x.tar", [member for i in range(20 * len(labels)) for member in sample(i, labels[i % len(labels)])])
    if names is not None:
        (path.parent / "classnames.txt").write_text("".join(f"kind {i}\n" for i in range(names)))
    return {"kind": "webdataset", "path": str(path), "size": 8, "cache_dir": str(root / "cache")}


def evaluation(judge: Path, **changes: Any) -> dict[str, Any]:
    base = {"every": 160, "protocol": "fd1k_classifier", "extractor": f"checkpoint:{judge}", "num_fake": 64, "num_real": 256}
    return {"evaluation": {**base, **changes}}


Changes = Callable[[Path, Path], dict[str, Any]]
GAN: dict[str, tuple[Changes, str]] = {
    "unlabelled": (lambda root, _: {"data": unlabelled(root)}, r"conditional = true needs classes, but flat \(.*\) is unlabelled"),
    "one class": (lambda root, _: {"data": with_gaps(root, (0,))}, r"has the single class '0'"),
    "gaps": (
        lambda root, _: {"data": with_gaps(root)},
        r"has no image of the classes '1', '2', '3', '4', '5', '6', which conditional = true needs; number the classes from 0",
    ),
    "a class beyond the largest label": (
        lambda root, _: {"data": with_gaps(root, (0, 1), names=3)},
        r"has no image of the class 'kind 2', which conditional = true needs; .*name only those in classnames\.txt",
    ),
    "many gaps": (lambda root, _: {"data": with_gaps(root, (0, 99_999))}, r"'9', '10' and 99,988 more, which conditional = true needs"),
    "balance without labels": (
        lambda root, _: {"conditional": False, "data": unlabelled(root), "trainer": {"balance": "per_class"}},
        r'flat is unlabelled: trainer\.balance = "per_class" has no classes to balance',
    ),
    "balance with gaps": (
        lambda root, _: {"conditional": False, "data": with_gaps(root), "trainer": {"balance": "overall"}},
        r"has no image of the classes '1', .*, which trainer\.balance = \"overall\" needs",
    ),
    "fewer images than a batch": (
        lambda root, _: {"conditional": False, "data": unlabelled(root, 13)},
        r"flat \(.*\) has 13 images to train on, which do not fill a batch of trainer\.batch_size = 16; set .*batch_size to at most 13",
    ),
    "fewer images than micro-batches": (
        lambda root, _: {"conditional": False, "data": unlabelled(root, 3), "trainer": {"micro_batches": 8}},
        r"has 3 images to train on, which do not fill a batch of trainer\.batch_size = 16; add images",
    ),
    "unknown protocol": (lambda _, judge: evaluation(judge, protocol="fid_50k"), r"there is no protocol 'fid_50k'; known are"),
    "protocol of another split": (
        lambda _, judge: evaluation(judge, protocol="fd50k_lite0_224"),
        r"protocol fd50k_lite0_224 \(.*\) compares with the train split, not test",
    ),
    "absent judge": (lambda _, judge: evaluation(judge, extractor="checkpoint:nowhere"), r"nowhere is not a classifier"),
    "absent weights": (lambda _, judge: evaluation(judge, protocol="fid2k", extractor=None), r"the Inception weights are missing"),
    "too many reals": (
        lambda _, judge: evaluation(judge, num_real=1000),
        r"but there are only 359: set evaluation\.num_real to at most that",
    ),
    "too few fakes": (
        lambda _, judge: evaluation(judge, num_fake=3),
        r"3 images are too few for is under protocol fd1k_classifier .*, which needs 10",
    ),
    "images of another size than the judge's": (
        lambda _, judge: {**evaluation(judge), "data": {"size": 16}},
        r"takes images of 8x8 pixels, got 16x16",
    ),
    "class scores of an unconditional run": (
        lambda _, judge: {"conditional": False, **evaluation(judge, protocol="intra_fid50k_train"), "data": {"split": "train"}},
        r"intra_fid compares class by class, but the scored images have no classes",
    ),
}


def refusal(main: Callable[[list[str]], None], config: Path, *flags: str) -> str:
    with pytest.raises(UserError) as refused:
        main([str(config), *flags])
    return str(refused.value)


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCONV_GAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.parametrize("case", GAN)
def test_the_dry_run_of_a_gan_refuses_what_the_run_refuses(case: str, tmp_path: Path, judge: Path) -> None:
    changes, sentence = GAN[case]
    config = toml(tmp_path, **changes(tmp_path, judge))
    said = refusal(gan.main, config, "--dry-run")
    assert re.search(sentence, said), said
    assert refusal(gan.main, config) == said
    assert not (tmp_path / "tiny").exists()


def test_a_dry_run_of_a_run_folder_s_other_settings_or_data_is_refused(run: Path) -> None:
    folder = run.parent
    for changes, sentence in (
        ({"seed": 4}, "holds a run with other settings: seed: 3 -> 4"),
        ({"data": {"split": "train"}}, "holds a run with other settings: data.split"),
    ):
        said = refusal(gan.main, toml(folder, **changes), "--dry-run")
        assert sentence in said
        assert refusal(gan.main, toml(folder, **changes)) == said
    state = run / "checkpoint-480" / "state.json"
    before = sorted(path.name for path in run.iterdir())
    other = folder / "other"
    for i in range(40):
        save(other / str(i % 2) / f"{i}.png", noise(i, 8, 8, 3))
    settings = {"data": {"kind": "folder", "path": str(other), "size": 8}}
    fresh = toml(folder, name="fresh", **settings)
    gan.main([str(fresh), "--trainer.total-images", "32"])
    save(other / "0" / "new.png", noise(99, 8, 8, 3))
    said = refusal(gan.main, fresh, "--dry-run", "--trainer.total-images", "32")
    assert "was trained on other data" in said
    assert refusal(gan.main, fresh, "--trainer.total-images", "32") == said
    assert state.is_file()
    assert sorted(path.name for path in run.iterdir()) == before


def test_an_occupied_folder_is_refused_by_the_dry_run(run: Path) -> None:
    with RunFolder(run).alone():
        said = refusal(gan.main, toml(run.parent), "--dry-run")
    assert "another process is training in" in said


def test_a_run_folder_below_a_file_is_refused_by_the_dry_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = toml(tmp_path)
    said = refusal(gan.main, config, "--runs-dir", str(tmp_path / "file"), "--dry-run")
    assert f"{tmp_path}/file is a file, not a folder" in said
    assert refusal(gan.main, config, "--runs-dir", str(tmp_path / "file")) == said


def test_the_dry_run_names_the_checkpoint_from_which_a_run_resumes(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_time, "BUDGET", 60.0)  # the whole batch is measured at any load of the machine
    shutil.rmtree(run / "checkpoint-480")
    gan.main([str(toml(run.parent)), "--dry-run"])
    shown = capsys.readouterr().out
    assert f"start: resumes from {run}/checkpoint-320" in shown
    assert "for the 5 iterations to go: an estimate, measured with 16 images at a time" in shown


def gapped_test_data(root: Path) -> dict[str, Any]:
    whole = {**with_gaps(root / "train", (0, 1, 2), names=3), "cache_dir": str(root / "cache")}
    return {"data": whole, "test_data": {**with_gaps(root / "test", (0, 2), names=3), "cache_dir": str(root / "cache")}}


CLASSIFIER: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "unlabelled": (
        lambda root: {"data": unlabelled(root), "test_data": unlabelled(root)},
        "a classifier needs classes, but flat is unlabelled",
    ),
    "gaps": (
        lambda root: {"data": with_gaps(root), "test_data": with_gaps(root)},
        "has no image of the classes '1', '2', '3', '4', '5', '6', which a classifier needs",
    ),
    "gaps in the test data": (gapped_test_data, "has no image of the class 'kind 1', which a classifier's test needs"),
    "rounding leaves classes out": (
        lambda _: {"split": {"validation": 0.0, "train": 0.001}},
        "split.train 0.001 of 1438 images leaves none to train on",
    ),
    "rounding leaves one class out": (
        lambda _: {"split": {"validation": 0.0, "train": 0.00346}, "trainer": {"batch_size": 2}},
        "leave no image of the class",
    ),
    "no validation images": (
        lambda _: {"split": {"validation": 0.001}, "evaluation": {"every": 160, "select": "best"}},
        "split.validation 0.001 selects no image of any class",
    ),
    "fewer images than a batch": (
        lambda _: {"trainer": {"batch_size": 512}},
        "images to train on, which do not fill a batch of trainer.batch_size = 512; set trainer.batch_size to at most",
    ),
    "absent start": (lambda root: {"start_from": str(root / "nowhere")}, "nowhere is not a classifier"),
}


@pytest.mark.parametrize("case", CLASSIFIER)
def test_the_dry_run_of_a_classifier_refuses_what_the_run_refuses(case: str, tmp_path: Path) -> None:
    changes, sentence = CLASSIFIER[case]
    config = tmp_path / "tiny.json"
    config.write_text(tiny_classifier(tmp_path, **changes(tmp_path)).model_dump_json())
    said = refusal(classifier.main, config, "--dry-run")
    assert sentence in said
    assert refusal(classifier.main, config) == said
    assert not (tmp_path / "tiny").exists()


def test_a_crop_beyond_the_image_is_refused_whatever_the_augmentation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"augmentation\.crop_size 16 is larger than data\.size 8"):
        tiny_classifier(tmp_path, augmentation={"crop_size": 16, "resized_crop": (0.5, 1.0)})


def test_a_start_that_fails_after_its_checks_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gconv_gan.training.loop.resume", fail)
    with pytest.raises(FullDiskError):
        gan.main([str(toml(tmp_path))])
    assert not (tmp_path / "tiny").exists()


def test_a_failing_start_does_not_change_an_existing_run_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    (run / "log.txt").unlink()
    monkeypatch.setattr("gconv_gan.training.loop.resume", fail)
    with pytest.raises(FullDiskError):
        gan.main([str(toml(run.parent))])
    assert {path: path.read_bytes() for path in run.rglob("*.safetensors")} == before


def test_a_run_that_was_stopped_before_its_first_line_keeps_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gconv_gan.training.loop.stop_signal", lambda *_: 15)
    with pytest.raises(StoppedBySignalError):
        gan.main([str(toml(tmp_path)), "--trainer.log-every", "1000"])
    assert not (tmp_path / "tiny" / "log.txt").exists()
    assert [path.name for path in (tmp_path / "tiny").glob("checkpoint-*")] == ["checkpoint-32"]


def test_a_run_that_fails_after_its_first_status_line_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object, images_seen: int, **__: object) -> Tensor:
        if images_seen >= 64:
            raise GuardError("not finite")
        return finish_step(*_, images_seen=images_seen, **__)  # type: ignore[arg-type]

    monkeypatch.setattr("gconv_gan.training.adversarial.finish_step", diverge)
    with pytest.raises(GuardError):
        gan.main([str(toml(tmp_path))])
    assert (tmp_path / "tiny" / "log.txt").is_file()
