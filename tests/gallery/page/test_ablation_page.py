import json
from pathlib import Path
from typing import Any

from gconv_gan.gallery.page.ablation_page import build_ablation
from gconv_gan.gallery.page.index import write_index
from gconv_gan.gallery.page.manifest import read_manifest
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.gallery.conftest import LOW, changed_files

COMMAND = "gconv-gan ablate configs/ablate/mine.toml --seeds 2 --images 64_000"


def result(*arms: str) -> dict[str, Any]:
    """The result of an ablation of two seeds, as its file holds it; every arm is compared with the first."""
    curves = {name: {"0": {100: 9900.25 + i, 200: 942.25 + i}, "1": {100: 9805.5 + i, 200: 905.0 + i}} for i, name in enumerate(arms)}
    found = {
        name: {
            **{"parameters": 1000, "macs": 2_000_000, "step_seconds": 0.01, "memory": 2**21, "diverged": []},
            "scores": {seed: {"fd": points[200], "precision": 0.5} for seed, points in curves[name].items()},
            "curves": {
                seed: {str(seen): {"fd": fd, "precision": 0.5} for seen, fd in points.items()} for seed, points in curves[name].items()
            },
        }
        for name in arms
    }
    tests = {"p": 0.01, "p_holm": 0.02, "p_permutation": 0.5, "p_permutation_holm": 1.0}
    paired = [
        {"arm": name, "against": arms[0], "score": "fd", "mean": -1.0, "ci95": [-2.0, -0.5], "verdict": verdict, **tests}
        for name, verdict in zip(arms[1:], ("better", "undecided", "worse"), strict=False)
    ]
    facts = {"name": "mine", "question": "Does it help?", "images": 200, "protocol": "tiny2k", "data": "noise", "seconds": 60.0}
    shown = {**facts, "primary": "fd", "arms": found, "paired": paired, "test": "t", "undecidable": "too few seeds"}
    return dict(json.loads(json.dumps(shown)))


def test_the_page_shows_verdicts_curves_with_bands_grids_of_the_same_latents_and_the_command(
    trained: TrainedGenerator, tmp_path: Path
) -> None:
    arms = ("plain", "gconv", "other")
    page = build_ablation(tmp_path / "page", result(*arms), dict.fromkeys(arms, trained), command=COMMAND, lower_is_better=LOW)
    text = page.read_text().replace("\u00a0", " ")
    places = [text.index(f'<section id="{name}"') for name in ("result", "curves", "pictures", "command")]
    assert places == sorted(places)
    assert text.count('<td class="better">better</td>') == 1
    assert (COMMAND in text, "too few seeds" in text) == (True, True)
    assert "2 seeds" in text
    for arm in arms:
        assert (page.parent / f"samples-{arm}.png").read_bytes() == (page.parent / "samples-plain.png").read_bytes()
    assert text.count('data-values="9853 ± 67 923.6 ± 26"') == 1  # of the first arm
    assert "Fréchet distance, lower is better (tiny2k), log scale" in text.replace("<wbr>", "")
    assert changed_files(page.parent) == []
    assert {entry.file for entry in read_manifest(page.parent).pictures} >= {"curve-fd.svg", "curve-precision.svg", "samples-gconv.png"}


def test_an_ablation_without_pictures_and_curves_has_a_page_and_a_row_in_the_index(tmp_path: Path) -> None:
    without = result("plain", "gconv")
    for arm in without["arms"].values():
        arm["curves"] = {"0": {}, "1": {}}
    page = build_ablation(tmp_path / "page", without, {}, command=COMMAND, lower_is_better=LOW)
    assert 'id="curves"' not in page.read_text()
    assert "1 ablation." in write_index(tmp_path, lower_is_better=LOW).read_text()
