"""A small example of every training method, for tests of all of them: a new row of ``METHODS`` needs a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gconv_gan.methods.method import PlayerName
from gconv_gan.parts import CLASSIFIERS

Task = Literal["gan", "classifier"]
SGD: dict[str, Any] = {"kind": "sgd", "learning_rate": 0.001}
PLAIN_SGD: dict[str, Any] = {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}
WITHOUT_GATES: tuple[tuple[PlayerName, str], ...] = (("generator", "dcgan"), *(("classifier", kind) for kind in CLASSIFIERS))
"""At 8 px DCGAN has no convolution but the last."""
NO_GATES: dict[tuple[PlayerName, str], str] = dict.fromkeys(WITHOUT_GATES, "kernel gates of a generator, but this run has none")
WITHOUT_NORM: tuple[tuple[PlayerName, str], ...] = (("generator", "dcgan"), ("classifier", "post_norm_transformer"))
"""The only norms have a scale that is a function of the class, or stand behind a residual sum."""
NO_NORM: dict[tuple[PlayerName, str], str] = dict.fromkeys(WITHOUT_NORM, "weights whose scale does not matter")


NARROW: dict[str, Any] = {"network": {"options": {"width": 0.25}}}
"""Changes of the tiny classifier's config that let the example of gradient_matrix do with its batches."""


def optimizers(optimizer: dict[str, Any]) -> dict[Task, dict[str, Any]]:
    """Return the changes of both tasks' configs that give every network this optimiser."""
    return {"gan": {"generator_optimizer": optimizer, "discriminator_optimizer": optimizer}, "classifier": {"optimizer": optimizer}}


@dataclass(frozen=True)
class Example:
    """How a method is listed in a run of 32 iterations at most, so that it acts in the first twelve.

    Attributes:
        keys: of its section.
        asked: keys that let it act on a network alone.
        players: networks that it can be asked to act on.
        runs: further changes of the run's config.
        refused: (network, kind of network) -> what the sentence says, where it cannot act.
        changes_structure: whether it leaves smaller networks behind.

    """

    keys: dict[str, Any] = field(default_factory=dict)
    asked: Callable[[PlayerName], dict[str, Any]] = lambda player: {"players": [player]}
    players: tuple[PlayerName, ...] = ("generator", "discriminator", "classifier")
    runs: Mapping[Task, dict[str, Any]] = field(default_factory=dict)
    refused: Mapping[tuple[PlayerName, str], str] = field(default_factory=dict)
    changes_structure: bool = False

    def section(self, kind: str, *players: PlayerName) -> dict[str, Any]:
        """Return its section in a config, for these networks."""
        found: dict[str, Any] = {"kind": kind, **self.keys}
        for player in players:
            for key, value in self.asked(player).items():
                found[key] = [*found[key], *value] if key in found and isinstance(value, list) else value
        return found


EXAMPLES: dict[str, Example] = {
    "orthogonal": Example(asked=lambda player: {player: 1e-3}),
    "gate_temperature": Example({"first": 5.0, "images": 100}, asked=lambda _: {}, players=("generator",), refused=NO_GATES),
    "curvature": Example({"every": 24, "steps": 3, "batches": 1}, runs=optimizers(SGD)),
    "taylor": Example({"every": 12, "units_per_step": 12, "removed": 0.1}, changes_structure=True),
    "sphere": Example({"others": "trained"}, runs=optimizers(PLAIN_SGD), refused=NO_NORM),
    "effective_learning_rates": Example(refused=NO_NORM),
    "low_rank": Example(
        {"every": 12, "removed": 0.6, "factorise_at": 24},
        changes_structure=True,
        refused={("generator", "dcgan"): "low_rank makes no convolution of the generator cheaper"},
    ),
    # whatever the gradients are: at most the singular values within 1 % of the largest count, so that a layer is left with a channel or two
    "gradient_matrix": Example({"every": 12, "batches": 12, "threshold": 0.99, "macs": 0.8}, changes_structure=True),
    "frozen_blocks": Example(
        asked=lambda _: {},
        players=("discriminator",),
        refused=dict.fromkeys((("discriminator", "dcgan"), ("discriminator", "skip")), "the discriminator has 1 blocks"),
    ),
    "gradinit": Example({"iterations": 2}, runs={"gan": {"discriminator": {"norm": {"kind": "none"}}}}),
}
