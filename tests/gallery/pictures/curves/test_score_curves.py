"""Score curves of a run's checkpoints: comparable scores form one curve, and the page's table lists only its own checkpoint."""

from typing import Any

from gconv_gan.gallery.pictures.curves.score_curves import curve_series, curves, tabulated
from gconv_gan.gallery.score import Score, read_score


def score(images: int | None, value: float, *, protocol: str = "p", seed: int = 0, **circumstances: Any) -> Score:
    content = {
        "scores": {"fd": value, "recall": value / 100},
        "card": {
            "formula": {"protocol": protocol, "num_fake": 10, "num_real": 20},
            "extractor": {"name": "x"},
            "reference": {"fingerprint": "f"},
            "fakes": {"images_seen": images, "weights_sha256": str(images), "seed": seed},
            "run": circumstances,
        },
    }
    return read_score(content, lower_is_better={"fd"})


def test_alike_scores_of_several_checkpoints_make_a_curve_in_the_order_of_training() -> None:
    scores = [score(300, 7.0, seconds=1.0), score(100, 9.0, seconds=2.0), score(200, 8.0)]
    panels = curve_series(scores)
    assert [(series.name, series.title) for series, _ in panels] == [
        ("curve-0-fd", "Fréchet distance, lower is better (p)"),
        ("curve-0-recall", "Recall, higher is better (p)"),
    ]
    assert panels[0][0].curves == {"fd": ((100.0, 9.0), (200.0, 8.0), (300.0, 7.0))}
    assert panels[0][1] == "features of x, 10 against 20 images, seed 0"


def test_unlike_scores_share_no_curve_and_one_checkpoint_makes_none() -> None:
    unlike = [score(100, 9.0), score(200, 8.0, seed=1), score(300, 7.0, protocol="q"), score(None, 6.0)]
    assert curves(unlike) == []
    both = curves([*unlike, score(400, 5.0, seed=1)])
    assert [list(curve) for curve in both] == [[200, 400]]


def test_a_page_shows_the_numbers_of_its_checkpoint_and_those_that_no_curve_shows() -> None:
    scores = [score(100, 9.0), score(200, 8.0), score(100, 1.0, protocol="q"), score(None, 6.0)]
    assert tabulated(scores, checkpoint=200) == scores[1:]
    assert tabulated(scores, checkpoint=100) == [scores[0], *scores[2:]]
