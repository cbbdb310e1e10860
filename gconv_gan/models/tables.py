"""The tables of networks: a new network is its file and a row here."""

from gconv_gan.config.schema import Table
from gconv_gan.config.sections.networks import AnyDiscriminator, AnyGenerator
from gconv_gan.models.classifiers.digits_classifier import DigitsClassifier
from gconv_gan.models.classifiers.transformer import PostNormTransformer
from gconv_gan.models.factory import named
from gconv_gan.models.gan.biggan import BigGANDiscriminator, BigGANGenerator
from gconv_gan.models.gan.dcgan import DCGANDiscriminator, DCGANGenerator
from gconv_gan.models.gan.mapping import MappingNetwork
from gconv_gan.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.models.gan.skip import SkipDiscriminator, SkipGenerator

MAPPINGS = Table("MAPPINGS", {"none": None, "mlp": MappingNetwork}, given=("latent_dim", "num_classes"))
"""Mapping networks between z and the generator: a row takes a keyword ``width``, the dimension of w."""

GENERATORS = Table(
    "GENERATORS",
    {"resnet": ResNetGenerator, "dcgan": DCGANGenerator, "biggan": BigGANGenerator, "skip": SkipGenerator},
    given=("image_size", "num_classes"),
    base=AnyGenerator,
    changed={"biggan": {"spectral_norm": True}},
)
"""``network(z [B, latent_dim], y [B] | None) -> images [B, 3, image_size, image_size]`` with attributes of these names."""

DISCRIMINATORS = Table(
    "DISCRIMINATORS",
    {"resnet": ResNetDiscriminator, "dcgan": DCGANDiscriminator, "biggan": BigGANDiscriminator, "skip": SkipDiscriminator},
    given=("image_size", "num_classes"),
    base=AnyDiscriminator,
)
"""``network(images [B, 3, image_size, image_size], y [B] | None) -> logits [B]``."""

CLASSIFIERS = Table(
    "CLASSIFIERS",
    {"digits_classifier": DigitsClassifier, "post_norm_transformer": PostNormTransformer, "named": named},
    given=("num_classes", "image_size"),
)
"""Classifiers: ``network(images [B, 3, s, s]) -> logits [B, num_classes]`` with ``features`` and attributes of these names."""
