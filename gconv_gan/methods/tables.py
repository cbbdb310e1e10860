"""The table of training methods: a new one is its class, a ``Method``, and a row here."""

from gconv_gan.config.schema import Table
from gconv_gan.methods.curvature import CurvatureRates
from gconv_gan.methods.effective_learning_rates import EffectiveLearningRates
from gconv_gan.methods.frozen_blocks import FrozenBlocks
from gconv_gan.methods.gradient_matrix import GradientMatrixPruning
from gconv_gan.methods.gradinit import GradInit
from gconv_gan.methods.low_rank import LowRankProjection
from gconv_gan.methods.orthogonal import OrthogonalRegularisation
from gconv_gan.methods.sphere import Sphere
from gconv_gan.methods.taylor import TaylorPruning
from gconv_gan.methods.temperature import GateTemperature

METHODS = Table(
    "METHODS",
    {
        "orthogonal": OrthogonalRegularisation,
        "gate_temperature": GateTemperature,
        "curvature": CurvatureRates,
        "low_rank": LowRankProjection,
        "taylor": TaylorPruning,
        "gradient_matrix": GradientMatrixPruning,
        "sphere": Sphere,
        "effective_learning_rates": EffectiveLearningRates,
        "gradinit": GradInit,
        "frozen_blocks": FrozenBlocks,
    },
)
"""Methods that act on the networks of a run, see ``Method``; ``[[methods]]`` of a config lists them."""
