import dataclasses

import torch
from torch import nn

from gconv_gan.gallery.pictures.logit_ranking import best_and_worst, draw_logit_ranking
from gconv_gan.gallery.trained_generator import TrainedGenerator


class Brightness(nn.Module):
    def forward(self, images: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        return images.flatten(1).mean(1)


def test_best_come_first_and_worst_last() -> None:
    logits = torch.tensor([[0.0, 5.0, -3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    assert best_and_worst(logits, 2).tolist() == [[1, 3, 0, 2], [4, 3, 1, 0]]


def test_the_extremes_of_each_class_are_shown(trained: TrainedGenerator) -> None:
    (drawing,) = draw_logit_ranking(dataclasses.replace(trained, discriminator=Brightness()), seed=0, classes=2, candidates=9, kept=2)
    assert drawing.row_labels == ("cat", "dog")
    best, worst = (float(value) for value in drawing.facts["cat"].split(" … "))
    assert best > worst
    assert draw_logit_ranking(dataclasses.replace(trained, discriminator=None), seed=0, classes=2, candidates=9, kept=2) == []
