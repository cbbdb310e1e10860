"""What a run refuses before it starts, and its dry run in the same words: methods that rely on each other's networks, and methods that
the run is too short for.
"""

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands.train import classifier, gan
from gconv_gan.commands.train.dry_run import classifier_plan, gan_plan
from gconv_gan.config.errors import UserError
from gconv_gan.training.checkpoint import checkpoints
from tests.methods.examples import EXAMPLES, NARROW
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

SHORT: dict[str, Any] = {"total_images": 64, "batch_size": 16, "log_every": 64}
STRUCTURAL = [kind for kind, example in EXAMPLES.items() if example.changes_structure]
FOLLOWED_BY_NAME = ["sphere", "effective_learning_rates"]


def refusal(task: str, folder: Path, **changes: Any) -> str:
    """Return the sentence by which a run and its dry run are refused."""
    config = (tiny if task == "gan" else tiny_classifier)(folder, trainer=SHORT, **changes)
    said = []
    for act in (gan_plan.plan, gan.fit) if task == "gan" else (classifier_plan.plan, classifier.fit):
        with pytest.raises(UserError) as raised:
            act(config)  # type: ignore[operator]
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]
    assert not (folder / "tiny").exists()
    return said[0]


@pytest.mark.parametrize(("first", "second"), [*permutations(STRUCTURAL, 2), *((kind, kind) for kind in STRUCTURAL)])
def test_two_methods_that_change_one_network_are_refused(first: str, second: str, tmp_path: Path) -> None:
    methods = [EXAMPLES[kind].section(kind, "classifier") for kind in (first, second)]
    assert refusal("classifier", tmp_path, methods=methods, **NARROW) == (
        f"{first} changes the structure of the classifier, on which {second} relies: leave one of the two out, or let their players name"
        " different networks"
    )


def test_a_method_that_follows_weights_by_name_is_refused_where_another_changes_the_structure(tmp_path: Path) -> None:
    for kind in STRUCTURAL:
        for other in FOLLOWED_BY_NAME:
            methods = [EXAMPLES[one].section(one, "classifier") for one in (other, kind)]
            said = refusal("classifier", tmp_path, methods=methods, **EXAMPLES[other].runs.get("classifier", {}), **NARROW)
            assert said.startswith(f"{kind} changes the structure of the classifier, on which {other} relies")


def test_projections_that_change_no_structure_still_rely_on_it(tmp_path: Path) -> None:
    projected = {"kind": "low_rank", "players": ["generator"], "every": 16}
    said = refusal("gan", tmp_path, methods=[projected, EXAMPLES["taylor"].section("taylor", "generator")])
    assert said.startswith("taylor changes the structure of the generator, on which low_rank relies")


def test_two_of_them_on_different_networks_train_and_resume(tmp_path: Path) -> None:
    methods = [EXAMPLES["low_rank"].section("low_rank", "generator"), EXAMPLES["taylor"].section("taylor", "discriminator")]
    for images in (64, 96):
        config = tiny(tmp_path, trainer={**SHORT, "total_images": images}, methods=methods, schedule={"kind": "constant"})
        assert "generator" in gan_plan.plan(config)
        gan.fit(config)
    assert checkpoints(tmp_path / "tiny")[0][0] == 96


LATE: list[tuple[dict[str, Any], str]] = [
    ({"kind": "low_rank", "factorise_at": 65}, "low_rank.factorise_at = 65 is beyond trainer.total_images = 64: set it to that number"),
    ({"kind": "gradient_matrix", "first": 60, "every": 5}, "gradient_matrix.first \\+ every = 65 is beyond trainer.total_images = 64"),
    ({"kind": "low_rank", "every": 65}, "low_rank.every = 65 is beyond trainer.total_images = 64: nothing would be projected"),
    ({"kind": "gradient_matrix", "every": 65, "batches": 64}, "gradient_matrix.every = 65 is beyond .* nothing would be estimated"),
    ({"kind": "taylor", "every": 16, "first": 64, "macs": 0.5}, "nothing out of the .* = 64: removal number 1 is due at 80 images"),
    ({"kind": "taylor", "every": 16, "first": 64, "cut": "step"}, "nothing out of the .* = 64: removal number 1 is due at 80 images"),
    ({"kind": "taylor", "every": 16, "units_per_step": 1}, "nothing out of the .*: removal number .* raise units_per_step"),
]


@pytest.mark.parametrize(("method", "sentence"), LATE)
@pytest.mark.parametrize("task", ["gan", "classifier"])
def test_what_a_run_would_not_reach_is_refused(task: str, method: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    said = refusal(task, tmp_path, methods=[method])
    assert re.search(sentence, said), said


def test_the_last_image_is_reached(tmp_path: Path) -> None:
    config = tiny_classifier(tmp_path, trainer=SHORT, methods=[{"kind": "low_rank", "removed": 0.6, "factorise_at": 64}])
    classifier.fit(config)
    assert "two layers" in (tmp_path / "tiny" / "methods" / "low_rank" / "ranks.txt").read_text()
