import re
from xml.etree import ElementTree

import pytest

from gconv_gan.gallery.pictures.curves.curves_svg import HEIGHT, LEFT, RIGHT, WIDTH, curves_svg, deviation_text, inline
from gconv_gan.gallery.pictures.curves.history import MAX_POINTS, Series

SVG = "{http://www.w3.org/2000/svg}"


def group(content: bytes, index: int = 0) -> ElementTree.Element:
    return [one for one in ElementTree.fromstring(content).iter(f"{SVG}g") if one.get("class") == "curve"][index]


def test_every_point_stands_in_the_picture_with_its_value() -> None:
    curve = ((640.0, 2.5), (1280.0, 1.25), (2560.0, 0.625))
    content = curves_svg(Series("losses", "Losses", {"a<b": curve, "c": curve[:2]}), label='a "label"')
    first, second = group(content), group(content, 1)
    assert first.get("data-values") == "2.5 1.25 0.625"
    assert first.get("data-at") == "640 1.28k 2.56k"
    assert "".join(first.itertext()) == "a<b 0.625"
    assert second.get("data-values") == "2.5 1.25"
    places = [tuple(map(float, place.split(","))) for place in str(first.get("data-points")).split()]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert places == sorted(places)  # later points are further right, smaller values further down


@pytest.mark.parametrize(("log_scale", "equal"), [(True, True), (False, False)])
def test_a_logarithmic_axis_gives_equal_ratios_equal_distances(log_scale: bool, equal: bool) -> None:
    content = curves_svg(Series("s", "S", {"a": ((0.0, 1.0), (1.0, 10.0), (2.0, 100.0))}, log_scale), label="label")
    heights = [float(place.split(",")[1]) for place in str(group(content).get("data-points")).split()]
    assert (abs((heights[0] - heights[1]) - (heights[1] - heights[2])) < 0.2) is equal


def test_a_long_curve_is_thinned_and_its_newest_value_is_kept() -> None:
    content = curves_svg(Series("s", "S", {"a": tuple((100.0 * i, float(i)) for i in range(950))}), label="label")
    assert len(str(group(content).get("data-values")).split()) <= MAX_POINTS
    assert "".join(group(content).itertext()) == "newest 949"


def test_one_point_or_a_constant_curve_is_drawn() -> None:
    for curve in (((0.0, 0.0),), ((5.0, 3.0),), ((0.0, 2.0), (9.0, 2.0))):
        assert "nan" not in curves_svg(Series("s", "S", {"a": curve}), label="label").decode()


def test_a_file_is_complete_and_the_page_s_part_has_no_style_of_its_own() -> None:
    content = curves_svg(Series("s", "S", {"a": ((0.0, 1.0), (1.0, 2.0))}), label="label")
    assert "prefers-color-scheme:dark" in content.decode()
    assert not re.search("<style|xmlns", inline(content))
    assert content == curves_svg(Series("s", "S", {"a": ((0.0, 1.0), (1.0, 2.0))}), label="label")
    assert len(content) < 4_000


def test_a_logarithmic_axis_of_less_than_a_decade_has_ticks() -> None:
    content = curves_svg(Series("s", "S", {"a": ((0.0, 3.1), (1.0, 3.6))}, log_scale=True), label="label").decode()
    assert content.count('class="grid"') > 1


def test_the_horizontal_axis_names_its_quantity() -> None:
    content = curves_svg(Series("s", "S", {"a": ((1.0, 3.1), (2.0, 3.6))}, across="cycles per image side"), label="label").decode()
    assert ">cycles per image side</text>" in content
    assert "images seen" not in content


def test_a_curve_has_the_colour_of_its_place_in_the_order_and_a_long_name_is_shortened() -> None:
    curve = ((0.0, 1.0), (1.0, 2.0))
    names = [f"run {index}" for index in range(6)]
    series = Series("s", "S", {names[5]: curve, "b" * 80: curve})
    content = curves_svg(series, label="label", order=[*names, "b" * 80]).decode()
    assert re.findall(r'polyline class="line (series-\d dash-\d)"', content) == ["series-1 dash-1", "series-2 dash-1"]
    assert "b" * 43 not in re.sub('data-name="[^"]+"', "", content)


def test_a_single_point_has_one_label_below_it_and_deviations_have_no_exponent() -> None:
    series = Series("fd", "Fréchet distance", {"a": ((64_000.0, 1932.0),)}, deviations={"a": (249.5,)})
    drawn = curves_svg(series, label="one").decode()
    assert drawn.count(">64k<") == 1
    few = curves_svg(Series("fd", "Fréchet distance", {"a": ((64.0, 3.0),)}), label="one").decode()
    assert re.findall(r'text-anchor="middle">([\d.]+)<', few) == ["64"]  # no 64.2
    assert "±\u00a0250" in drawn
    assert deviation_text(1.26e-7) == "1.3e-07"


def test_places_below_zero_and_on_a_logarithmic_axis_are_told_apart() -> None:
    def places(series: Series) -> list[float]:
        found = re.search(r'data-points="([^"]+)"', curves_svg(series, label="").decode())
        assert found is not None
        return [float(point.split(",")[0]) for point in found[1].split()]

    values = ((4.0, 1.0), (8.0, 2.0), (16.0, 3.0))
    linear, logarithmic = (places(Series("b", "", {"a": values}, log_across=log)) for log in (False, True))
    assert logarithmic[1] - logarithmic[0] == pytest.approx(logarithmic[2] - logarithmic[1], abs=0.11)
    assert linear[2] - linear[1] == pytest.approx(2 * (linear[1] - linear[0]), abs=0.21)
    below = places(Series("b", "", {"a": ((-2.0, 1.0), (0.0, 2.0), (2.0, 3.0))}))
    assert (below[0], below[2]) == (pytest.approx(LEFT), pytest.approx(WIDTH - RIGHT))
