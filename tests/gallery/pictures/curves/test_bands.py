"""The band of an arm: mean and standard deviation over the seeds, where all of them have a value."""

from xml.etree import ElementTree

import pytest

from gconv_gan.gallery.pictures.curves.bands import band, band_drawing

SVG = "{http://www.w3.org/2000/svg}"


def test_a_band_is_mean_and_deviation_at_the_points_of_all_seeds() -> None:
    found = band([{100: 1.0, 200: 5.0}, {100: 3.0}])
    assert found == {100: (2.0, pytest.approx(2**0.5))}
    assert band([{100: 4.0}]) == {100: (4.0, 0.0)}
    assert band([]) == {}


def test_every_arm_has_its_values_with_their_deviation_and_one_without_points_is_left_out() -> None:
    drawing = band_drawing(
        "fd", "FD", {"a": [{1: 1.0, 2: 2.0}, {1: 3.0, 2: 2.0}], "b": [{1: 0.0}, {2: 1.0}], "c": [{1: 5.0, 2: 5.0}]}, better="lower"
    )
    groups = {one.get("data-name"): one for one in ElementTree.fromstring(drawing.content).iter(f"{SVG}g")}
    assert list(groups) == ["a", "c"]
    assert str(groups["a"].get("data-values")).split(" ") == ["2\u00a0±\u00a01.4", "2\u00a0±\u00a00"]
    (polygon,) = groups["a"].iter(f"{SVG}polygon")
    low, _, _, high = (float(place.split(",")[1]) for place in str(polygon.get("points")).split())
    middle = float(str(groups["a"].get("data-points")).split(" ")[0].split(",")[1])
    assert high < middle < low  # a larger value is further up
    assert abs((low - middle) - (middle - high)) < 0.2
    assert drawing.alt.endswith("At the end: a 2 ± 0; c 5 ± 0.")


def test_seeds_without_a_common_point_leave_an_empty_panel() -> None:
    assert b"<g" not in band_drawing("fd", "FD", {"b": [{1: 0.0}, {2: 1.0}]}, better="lower").content


@pytest.mark.parametrize(("lowest", "log_scale"), [(10.0, True), (0.5, False)])
def test_the_axis_is_logarithmic_unless_a_band_reaches_0(lowest: float, log_scale: bool) -> None:
    drawing = band_drawing("fd", "FD", {"a": [{1: 500.0, 2: lowest}, {1: 500.0, 2: lowest + 8}]}, better="lower")
    assert drawing.title.endswith("log scale") is log_scale


def test_a_fifth_arm_shares_a_colour_and_has_another_dash() -> None:
    text = band_drawing("fd", "FD", {f"arm {i}": [{1: 1.0, 2: float(i)}] for i in range(5)}, better="lower").content.decode()
    assert text.count('class="line series-0 dash-1"') == 2  # the curve and its key in the legend
