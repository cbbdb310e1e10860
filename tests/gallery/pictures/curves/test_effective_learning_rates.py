"""Panels of effective learning rates: what is in the records is drawn, layer by layer, and nothing else."""

import re
from dataclasses import replace
from xml.etree import ElementTree

from gconv_gan.gallery.pictures.curves.effective_learning_rates import draw_effective_learning_rates, layer_curves
from gconv_gan.gallery.trained_generator import TrainedGenerator

LAYERS = ("blocks.0.conv1", "blocks.0.conv2+1", "to_rgb")


def records(*, players: tuple[str, ...] = ("generator", "discriminator")) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "images": 100.0 * time,
            "effective_learning_rate": 1.0,
            **{
                f"effective_learning_rate/{player}/{layer}": 10.0**-place / time for player in players for place, layer in enumerate(LAYERS)
            },
            **{f"effective_learning_rate/{player}/all": 1e-4 for player in players},
            **{f"weight_norm/{player}/{layer}": float(time) for player in players for layer in LAYERS},
        }
        for time in range(1, 6)
    )


def test_there_is_a_panel_per_player_and_quantity_that_was_measured(trained: TrainedGenerator) -> None:
    drawings = draw_effective_learning_rates(replace(trained, records=records()), seed=0)
    assert [drawing.file for drawing in drawings] == [
        f"history-{quantity}-{player}.svg"
        for player in ("generator", "discriminator")
        for quantity in ("effective-learning-rate", "weight-norm")
    ]
    assert drawings[0].alt.startswith("Effective learning rates of 3 layers of the generator over images seen: from 0.01 to 1 at first, ")
    only = draw_effective_learning_rates(replace(trained, records=records(players=("discriminator",))), seed=0)
    assert all("discriminator" in drawing.file for drawing in only)


def test_a_run_that_did_not_measure_them_has_none(trained: TrainedGenerator) -> None:
    assert draw_effective_learning_rates(replace(trained, records=({"images": 100, "loss_d": 1.0},)), seed=0) == []


def test_curves_are_those_of_the_layers_in_the_order_of_the_network_and_positive() -> None:
    found = layer_curves(
        [*records(), {"images": 600.0, "effective_learning_rate/generator/to_rgb": 0.0}], "effective_learning_rate/generator/"
    )
    assert list(found) == [*LAYERS, "all"]
    assert found["to_rgb"][:2] == ((100.0, 0.01), (200.0, 0.005))
    assert len(found["to_rgb"]) == 5


def test_every_layer_has_a_line_with_its_name_and_values_on_a_logarithmic_axis(trained: TrainedGenerator) -> None:
    drawing = draw_effective_learning_rates(replace(trained, records=records()), seed=0)[0]
    groups = {one.get("data-name"): one for one in ElementTree.fromstring(drawing.content).iter("{http://www.w3.org/2000/svg}g")}
    assert list(groups) == [*LAYERS, "all"]
    assert str(groups["to_rgb"].get("data-values")).split(" ")[:2] == ["0.01", "0.005"]
    firsts = [float(str(groups[layer].get("data-points")).split(" ")[0].split(",")[1]) for layer in LAYERS]  # 1, 0.1, 0.01
    assert abs((firsts[1] - firsts[0]) - (firsts[2] - firsts[1])) < 0.2
    colours = {re.search("series-1\\) (\\d+)%", ElementTree.tostring(groups[layer]).decode())[1] for layer in LAYERS}
    assert colours == {"0", "50", "100"}
