"""The table of augmentations of the discriminator's images: a new one is its class and a row here."""

from gconv_gan.augment.adaptive import AdaptiveAugment, ScheduledAugment
from gconv_gan.augment.diff_augment import DiffAugment
from gconv_gan.config.schema import Table

AUGMENTATIONS = Table("AUGMENTATIONS", {"none": None, "diff_augment": DiffAugment, "ada": AdaptiveAugment, "scheduled": ScheduledAugment})
"""Augmentations, see ``Augment``."""
