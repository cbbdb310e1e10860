"""Runs of either sort that are ended, or acted upon, in the middle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gconv_gan.commands.train import classifier, classifier_checks, gan, gan_checks
from gconv_gan.methods.method import Method, Player, PlayerName, Progress
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier


class PowerCutError(Exception):
    """Stands for whatever ends a process without warning."""


def power_cut() -> None:
    raise PowerCutError


class At(Method):
    """Call ``action`` after the step of the discriminator, or of the classifier, that begins at ``images`` images seen."""

    def __init__(self, images: int, action: Callable[[], None]) -> None:
        self.images, self.action, self.seen = images, action, 0

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        self.seen = progress.images_seen

    def after_step(self, player: Player) -> None:
        if player.name != "generator":
            if self.seen == self.images:
                self.action()
            self.seen += 16


@dataclass(frozen=True)
class Training:
    """A sort of training: the config of its tiny run, the command, and the function of ``checks`` that tells a run's methods."""

    tiny: Callable[..., Any]
    fit: Callable[[Any], Any]
    checks: ModuleType
    methods: str

    def fit_with(self, monkeypatch: pytest.MonkeyPatch, method: Method, folder: Path, **changes: object) -> None:
        """Train the tiny run with one more method."""
        methods = getattr(self.checks, self.methods)
        with monkeypatch.context() as patch:
            patch.setattr(self.checks, self.methods, lambda config: (*methods(config), method))
            self.fit(self.tiny(folder, **changes))


GAN = Training(tiny, gan.fit, gan_checks, "methods")
CLASSIFIER = Training(tiny_classifier, classifier.fit, classifier_checks, "listed_methods")

fit_with = GAN.fit_with
