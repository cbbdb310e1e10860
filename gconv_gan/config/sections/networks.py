"""Common keys of all generators and discriminators, besides the keywords of their constructors. The resolution is ``data.size``."""

from typing import Annotated

from pydantic import PositiveFloat, PositiveInt

from gconv_gan.config.schema import Choice, PartConfig, flagged


class AnyGenerator(PartConfig):
    """Common keys of all generators."""

    latent_dim: PositiveInt = 128
    """Dimension of z; the default is that of the network's own keyword, if it has one."""
    mapping: Annotated[PartConfig, Choice("MAPPINGS", default="none")]
    """A mapping network in front of it."""
    spectral_norm: bool = False
    """Spectral normalisation of every weight except class embeddings (SAGAN, BigGAN)."""
    spectral_eps: PositiveFloat = 1e-12
    """Lower bound of the vector norms in the power iteration."""

    @property
    def needs_classes(self) -> str | None:
        """Return a key and value that need classes, if there is one."""
        return flagged(self, "needs_classes", "generator")


class AnyDiscriminator(PartConfig):
    """Common keys of all discriminators; a conditional run adds the projection head."""

    norm: Annotated[PartConfig, Choice("WEIGHT_NORMS", default="spectral")]
    """Normalisation of the discriminator's weights, which bounds its Lipschitz constant."""

    @property
    def coupling(self) -> str | None:
        """Return a key and value by which an image's logit depends on the other images of its batch, if there is one."""
        return flagged(self, "couples_batch", "discriminator")
