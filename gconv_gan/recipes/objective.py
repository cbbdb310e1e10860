"""The objective of a run, from its config."""

from torch import nn

from gconv_gan.config.runs import GANRunConfig
from gconv_gan.data.factory import augmentation
from gconv_gan.losses.factory import adversarial_loss, consistency, gradient_penalty, lecam, top_k
from gconv_gan.losses.objective import Objective
from gconv_gan.losses.penalty_check import check_penalty


def build_objective(config: GANRunConfig, discriminator: nn.Module, num_classes: int | None) -> Objective:
    """Return the loss and whatever the config adds to it.

    Raises:
        UserError: the penalty does not go with ``discriminator``.

    """
    penalty = gradient_penalty(config.objective.penalty)
    if penalty is not None:
        kind = config.objective.penalty.kind
        check_penalty(penalty, discriminator, kind=kind, image_size=config.data.size, num_classes=num_classes)
    return Objective(
        loss=adversarial_loss(config.objective),
        augment=augmentation(config.augment),
        penalty=penalty,
        consistency=consistency(config.objective.consistency),
        lecam=lecam(config.objective.lecam),
        top_k=top_k(config.objective.top_k, config.trainer.batch_size),
        apart=config.discriminator.coupling is not None,
    )
