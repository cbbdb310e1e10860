import io

import numpy as np
import pytest
from PIL import Image

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.curves.history import (
    MAX_POINTS,
    Series,
    axis_range,
    draw_sheet,
    points,
    score_series,
    short_count,
    thin,
    training_series,
)


def test_only_finite_numbers_with_a_count_are_points() -> None:
    records = [
        {"images": 10, "loss_d": 1.0},
        {"images": 20, "loss_d": float("nan")},
        {"images": 30, "loss_d": "high"},
        {"images": 40, "loss_d": True},
        {"loss_d": 2.0},
        {"images": 50, "loss_d": 3},
    ]
    assert points(records, "loss_d") == ((10.0, 1.0), (50.0, 3.0))


def test_panels_without_numbers_are_left_out() -> None:
    panels = training_series([{"images": 1, "loss_d": 1.0, "grad_norm_g": 2.0}])
    assert [(panel.name, list(panel.curves)) for panel in panels] == [("losses", ["discriminator"]), ("gradients", ["generator"])]


def test_a_logarithmic_axis_is_named_and_kept_for_values_that_span_a_decade() -> None:
    for values, log_scale in (((2.0, 30.0), True), ((20.0, 50.0), False), ((0.0, 30.0), False)):
        records = [{"images": index, "grad_norm_g": value} for index, value in enumerate(values)]
        [panel] = training_series(records)
        assert (panel.log_scale, panel.title) == (log_scale, "Gradient norms, log scale" if log_scale else "Gradient norms")


def test_scores_of_two_protocols_get_two_panels() -> None:
    panels = score_series([{"images": 1, "a/fd": 9.0}, {"images": 2, "a/fd": 8.0, "b/fd": 70.0, "a/recall": 0.5}], {"fd", "fid"})
    assert {panel.title: panel.curves["fd"] for panel in panels if "fd" in panel.curves} == {
        "Fréchet distance, lower is better (a)": ((1.0, 9.0), (2.0, 8.0)),
        "Fréchet distance, lower is better (b)": ((2.0, 70.0),),
    }
    assert [panel.title for panel in panels][2:] == ["Recall, higher is better (a)"]
    assert len({panel.name for panel in panels}) == 3


def test_a_score_without_a_protocol_is_refused() -> None:
    with pytest.raises(UserError, match="'fid' without its protocol; write it as 'protocol/fid'"):
        score_series([{"images": 1, "fid": 9.0}], {"fd", "fid"})


def test_thinning_averages_equal_groups_and_keeps_short_curves() -> None:
    short = tuple((float(i), float(i)) for i in range(MAX_POINTS))
    assert thin(short) == short
    curve = tuple((float(i), float(i % 2)) for i in range(2 * MAX_POINTS))
    assert thin(curve) == tuple((2 * i + 0.5, 0.5) for i in range(MAX_POINTS))
    assert len(thin(curve + ((1e9, 1.0),))) <= MAX_POINTS


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (640, "640"), (6400, "6.4k"), (64_000, "64k"), (1_280_000, "1.28M")])
def test_counts_as_text(count: int, text: str) -> None:
    assert short_count(count) == text


def test_a_sheet_holds_every_panel_apart_from_the_others() -> None:
    curve = tuple((100.0 * i, 1.0 / (1 + i)) for i in range(40))
    long = "Fréchet distance, lower is better (fd1k_classifier (metrics=('fid', 'is'), num_fake=100, num_real=90)), and even longer"
    panels = [Series(f"p{index}", long if index == 1 else f"Panel {index}", {"a": curve}) for index in range(5)]
    content = draw_sheet(panels, title="run", theme=LIGHT)
    assert content == draw_sheet(panels, title="run", theme=LIGHT)
    assert len(content) < 200_000
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    height, width = picture.shape
    marked = picture < 150  # ink of text and lines on the white card
    assert not marked[:, width // 2 - 4 : width // 2 + 4].any()  # nothing crosses from one column to the other
    assert marked[-height // 4 :, : width // 2].any()  # the fifth panel
    assert not marked[-height // 4 :, width // 2 :].any()  # and no sixth


@pytest.mark.parametrize(
    ("values", "limits", "log_scale", "expected"),
    [
        ((0.968, 0.972), (0.0, 1.0), False, (0.0, 1.0)),  # 0.4 % of a bounded quantity
        ((0.5, 1.5), (0.0, 1.0), False, (0.45, 1.55)),  # values beyond the limits are shown
        ((99.8, 100.2), None, False, (87.475, 112.525)),  # 0.4 % of an unbounded one fills 2 % of the axis
        ((0.0, 10.0), None, False, (0.0, 11.0)),
        ((-1.0, 1.0), None, False, (-1.1, 1.1)),
        ((1.0, 100.0), None, True, (1 / 1.1, 110.0)),
    ],
)
def test_the_axis_does_not_enlarge_a_small_change(
    values: tuple[float, ...], limits: tuple[float, float] | None, log_scale: bool, expected: tuple[float, float]
) -> None:
    series = Series("s", "S", {"a": tuple((float(i), value) for i, value in enumerate(values))}, log_scale, limits)
    assert axis_range(series) == pytest.approx(expected, rel=2e-2)


def test_a_distance_that_falls_by_a_power_of_ten_has_a_logarithmic_axis() -> None:
    records = [{"images": 1, "a/fd": 900.0, "a/is_mean": 1.0, "a/recall": 0.5}, {"images": 2, "a/fd": 50.0, "a/is_mean": 12.0}]
    found = {panel.title: (panel.log_scale, panel.limits) for panel in score_series(records, {"fd", "fid"})}
    assert found == {
        "Fréchet distance, lower is better (a), log scale": (True, None),
        "Inception Score, higher is better (a)": (False, None),
        "Recall, higher is better (a)": (False, (0.0, 1.0)),
    }
