"""The tables of optimisers and schedules: a new one is its function or class and a row here."""

from gconv_gan.config.schema import Table
from gconv_gan.config.sections.optim import AnyOptimizer, AnySchedule
from gconv_gan.optim.optimizers import adam, adamw, sgd
from gconv_gan.optim.schedules import Constant, Cosine, Linear, Step

OPTIMIZERS = Table("OPTIMIZERS", {"sgd": sgd, "adam": adam, "adamw": adamw}, base=AnyOptimizer)
"""Optimisers of every network: ``optimizer(network) -> torch.optim.Optimizer``."""

SCHEDULES = Table(
    "SCHEDULES", {"constant": Constant, "linear": Linear, "cosine": Cosine, "step": Step}, given=("warmup_images",), base=AnySchedule
)
"""Schedules: ``schedule()(images_seen, total_images) -> factor``."""
