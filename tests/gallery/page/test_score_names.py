"""FID, KID and Inception Score are names of scores in Inception's features only."""

from gconv_gan.gallery.page.score_names import NAMES, direction
from gconv_gan.gallery.page.score_table import scores_html
from gconv_gan.gallery.pictures.curves.history import score_series
from gconv_gan.gallery.score import Score, read_score
from gconv_gan.metrics.tables import lower_is_better

DIRECTIONS = (("lower is better", "↓"), ("higher is better", "↑"))


def card(extractor: str) -> dict[str, object]:
    return {"formula": {"protocol": "p"}, "extractor": {"name": extractor}}


def of(numbers: dict[str, float], card: dict[str, object]) -> Score:
    return read_score({"scores": numbers, "card": card}, lower_is_better=lower_is_better())


def rows(score: Score) -> dict[str, str]:
    return {score.name(key): score.text(key) for key in score.keys}


def test_a_table_calls_only_inceptions_numbers_fid_is_and_kid() -> None:
    inception = rows(of({"fid": 1.0, "is_mean": 2.0, "is_std": 0.1, "kid_mean": 0.1}, card("inception")))
    other = rows(of({"fd": 1.0, "is_mean": 2.0, "is_std": 0.1, "kid_mean": 0.1}, card("checkpoint:judge")))
    assert list(inception) == ["FID", "Inception Score", "KID"]
    assert list(other) == ["Fréchet distance", "Inception Score", "Kernel distance"]
    assert other["Inception Score"] == "2 ± 0.1"


def test_a_curve_calls_only_inceptions_numbers_fid_is_and_kid() -> None:
    records = [{"images": 1, "a/fd": 2.0, "a/is_mean": 3.0, "b/fid": 2.0, "b/is_mean": 3.0}]
    titles = [series.title for series in score_series(records, lower_is_better())]
    assert titles[1] == "Inception Score, higher is better (a)"
    assert titles[2:] == ["FID, lower is better (b)", "Inception Score, higher is better (b)"]


def test_a_kernel_distance_of_whole_sets_is_shown_without_the_round_off_that_older_files_call_its_spread() -> None:
    scores = {"fd": 1.0, "kid_mean": 0.1, "kid_std": 5e-16}
    for size, shown in ((128, "0.1"), (100, "0.1 ± 5e-16")):
        formula = {"protocol": "p", "num_fake": 128, "num_real": 128, "kid_subset_size": size}
        assert rows(of(scores, card("judge") | {"formula": formula}))["Kernel distance"] == shown


def test_the_card_says_which_way_is_better_and_for_an_older_one_the_metrics_do() -> None:
    numbers = {"fd": 1.0, "precision": 0.5, "roughness": 3.0}
    older = of(numbers, card("judge"))
    assert older.directions == {"fd": "lower", "precision": "higher"}
    known = read_score({"scores": numbers, "card": card("judge")}, lower_is_better={"fd", "roughness"})
    assert known.directions == {"fd": "lower", "precision": "higher", "roughness": "lower"}
    newer = of(numbers, card("judge") | {"lower_is_better": ["fd"]})
    assert newer.directions == {"fd": "lower", "precision": "higher", "roughness": "higher"}


def test_every_score_of_a_metric_with_a_low_best_has_a_name_and_that_direction() -> None:
    low = lower_is_better()
    assert low <= set(NAMES)
    assert {key for key in NAMES if direction(key, low) == "lower"} == low


def test_a_table_names_the_newer_scores_and_says_which_way_is_better() -> None:
    numbers = {"mind": 1.0, "clipped_density": 0.5, "f_score": 0.7, "mine": 3.0}
    page = scores_html([of(numbers, card("inception"))])
    low, high = (f'<span role="img" aria-label="{words}" title="{words}">{arrow}</span></th>' for words, arrow in DIRECTIONS)
    assert f"MIND {low}" in page
    assert f"Clipped Density {high}" in page
    assert f"F-score of precision and recall {high}" in page
    assert '<th scope="row">mine</th>' in page
    assert list(rows(of({"mmd": 1.0}, card("judge")))) == ["MMD, Gaussian kernel"]


def test_every_number_of_the_newer_metrics_has_a_name() -> None:
    keys = {"mind", "monge_distance", "cmmd", "mmd", "clipped_density", "clipped_density_raw", "clipped_coverage", "f_score"}
    assert keys <= set(NAMES)
