"""The objective of a run, from its config."""

from torch import nn

from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.losses.factory import consistency, lecam, top_k
from gconv_gan.losses.objective import Objective
from gconv_gan.losses.penalty_check import check_penalty
from gconv_gan.losses.tables import LOSSES


def build_objective(config: GANRunConfig, discriminator: nn.Module, num_classes: int | None) -> Objective:
    """Return the loss with the penalty, augmentation and regularisers of the config.

    Raises:
        UserError: the penalty cannot be computed for ``discriminator``.

    """
    make_penalty, make_augment = constructor(config.objective.penalty, "objective.penalty"), constructor(config.augment, "augment")
    penalty = None if make_penalty is None else make_penalty()
    if penalty is not None:
        kind = config.objective.penalty.kind
        check_penalty(penalty, discriminator, kind=kind, image_size=config.data.size, num_classes=num_classes)
    return Objective(
        loss=LOSSES[config.objective.loss](),
        augment=None if make_augment is None else make_augment(),
        penalty=penalty,
        consistency=consistency(config.objective.consistency),
        lecam=lecam(config.objective.lecam),
        top_k=top_k(config.objective.top_k, config.trainer.batch_size),
        apart=config.discriminator.coupling is not None,
    )
