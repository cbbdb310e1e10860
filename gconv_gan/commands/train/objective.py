"""The objective of a run, from its config."""

from torch import nn

from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.objective import Objective
from gconv_gan.losses.penalty_check import check_penalty
from gconv_gan.losses.tables import LOSSES
from gconv_gan.losses.top_k import TopK


def build_objective(config: GANRunConfig, discriminator: nn.Module, num_classes: int | None) -> Objective:
    """Return the loss with the penalty, augmentation and regularisers of the config; a regulariser of weight 0 is None.

    Raises:
        UserError: the penalty cannot be computed for ``discriminator``.

    """
    make_penalty, make_augment = constructor(config.objective.penalty, "objective.penalty"), constructor(config.augment, "augment")
    penalty = None if make_penalty is None else make_penalty()
    if penalty is not None:
        kind = config.objective.penalty.kind
        check_penalty(penalty, discriminator, kind=kind, image_size=config.data.size, num_classes=num_classes)
    consistency, lecam, top_k = config.objective.consistency, config.objective.lecam, config.objective.top_k
    return Objective(
        loss=LOSSES[config.objective.loss](),
        augment=None if make_augment is None else make_augment(),
        penalty=penalty,
        consistency=Consistency(**consistency.model_dump()) if consistency.real_weight or consistency.fake_weight else None,
        lecam=LeCam(**lecam.model_dump()) if lecam.weight else None,
        top_k=TopK(batch_size=config.trainer.batch_size, **top_k.model_dump()) if top_k.final_fraction < 1 else None,
        apart=config.discriminator.coupling is not None,
    )
