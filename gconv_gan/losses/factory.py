"""Config of the regularisers of logits -> the regularisers; None if their weight is 0."""

from gconv_gan.config.sections.objective import ConsistencyConfig, LeCamConfig, TopKConfig
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.top_k import TopK


def consistency(config: ConsistencyConfig) -> Consistency | None:
    """Return the regulariser; None if both weights are 0."""
    return Consistency(config.real_weight, config.fake_weight) if config.real_weight or config.fake_weight else None


def lecam(config: LeCamConfig) -> LeCam | None:
    """Return the regulariser with its averages at 0; None if its weight is 0."""
    return LeCam(weight=config.weight, decay=config.decay, start_images=config.start_images) if config.weight else None


def top_k(config: TopKConfig, batch_size: int) -> TopK | None:
    """Return the factors on the generator's losses; None if all images of a batch always have factor 1."""
    if config.final_fraction == 1:
        return None
    return TopK(batch_size=batch_size, final_fraction=config.final_fraction, decay=config.decay, decay_images=config.decay_images)
