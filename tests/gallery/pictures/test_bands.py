"""The band of an arm: mean and standard deviation over the seeds, where all of them have a value."""

import re

import pytest

from gconv_gan.gallery.pictures.bands import band, band_drawing


def test_a_band_is_mean_and_deviation_at_the_points_of_all_seeds() -> None:
    found = band([{100: 1.0, 200: 5.0}, {100: 3.0}])
    assert found == {100: (2.0, pytest.approx(2**0.5))}
    assert band([{100: 4.0}]) == {100: (4.0, 0.0)}
    assert band([]) == {}


def test_a_panel_shows_means_and_deviations_and_leaves_out_an_arm_without_common_points() -> None:
    arms = {"apart": [{1: 0.0}, {2: 1.0}], "a": [{1: 1.0, 2: 2.0}, {1: 3.0, 2: 2.0}], "b": [{1: 4.0, 2: 5.0}]}
    drawing = band_drawing("fd", "Distance", arms)
    assert drawing is not None
    text = drawing.content.decode()
    assert re.findall('data-values="([^"]+)"', text) == ["2±1.4 2±0", "4 5"]
    assert text.count("<polygon") == 1
    assert "apart" not in text
    assert re.findall(r'polyline class="line series-(\d)', text) == ["1", "2"]  # an arm has the same colour in all panels
    assert band_drawing("fd", "Distance", {"a": [{1: 1.0}, {2: 1.0}]}) is None


@pytest.mark.parametrize(("score", "spread", "log_scale"), [("fd", 0.1, True), ("fd", 16.0, False), ("is_mean", 0.1, False)])
def test_a_distance_over_a_power_of_ten_has_a_logarithmic_axis_unless_its_band_reaches_zero(
    score: str, spread: float, log_scale: bool
) -> None:
    drawing = band_drawing(score, "Score", {"a": [{1: 200.0, 2: 2.0}, {1: 200.0, 2: 2.0 + spread}]})
    assert drawing is not None
    assert (drawing.title == "Score, log scale") is log_scale
