"""The band of an arm: mean and standard deviation over the seeds, where all of them have a value."""

import pytest

from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.bands import band, draw_bands


def test_a_band_is_mean_and_deviation_at_the_points_of_all_seeds() -> None:
    found = band([{100: 1.0, 200: 5.0}, {100: 3.0}])
    assert found == {100: (2.0, pytest.approx(2**0.5))}
    assert band([{100: 4.0}]) == {100: (4.0, 0.0)}
    assert band([]) == {}


def test_the_deviation_changes_the_plot_and_an_arm_without_points_does_not_stop_it() -> None:
    one = draw_bands({"a": [{1: 1.0, 2: 2.0}, {1: 3.0, 2: 2.0}], "b": [{1: 0.0}, {2: 1.0}]}, theme=LIGHT)
    other = draw_bands({"a": [{1: 2.0, 2: 2.0}, {1: 2.0, 2: 2.0}], "b": [{1: 0.0}, {2: 1.0}]}, theme=LIGHT)
    assert one != other
    assert one.startswith(b"\x89PNG")
