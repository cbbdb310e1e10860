"""What every generator and discriminator has besides the keywords of its constructor. Their resolution is ``data.size``."""

from typing import Annotated

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from gconv_gan.config.schema import Choice, PartConfig, flagged


class AnyGenerator(PartConfig):
    """What every generator has."""

    latent_dim: PositiveInt = 128
    """Dimension of z; the row's own keyword, if it has one, gives the default."""
    mapping: Annotated[PartConfig, Choice("MAPPINGS", default="none")]
    """A mapping network in front of it."""
    spectral_norm: bool = False
    """Normalise every weight but class embeddings spectrally (SAGAN, BigGAN)."""
    spectral_eps: PositiveFloat = 1e-12
    """Guard of the power iteration's normalisations."""
    orthogonal: NonNegativeFloat = 0.0
    """Weight β of orthogonal regularisation; 5e-5 is BigGAN-PyTorch's strength of 1e-4."""

    @property
    def needs_classes(self) -> str | None:
        """Return the key and value that ask for classes, if there is one."""
        return flagged(self, "needs_classes", "generator")


class AnyDiscriminator(PartConfig):
    """What every discriminator has; with the projection head when the run is conditional."""

    norm: Annotated[PartConfig, Choice("WEIGHT_NORMS", default="spectral")]
    """How the discriminator's layers are kept Lipschitz."""
    orthogonal: NonNegativeFloat = 0.0
    """Weight β of orthogonal regularisation; 5e-5 is BigGAN-PyTorch's strength of 1e-4."""

    @property
    def coupling(self) -> str | None:
        """Return the key and value that let an image's logit depend on the other images of its batch, if there is one."""
        return flagged(self, "couples_batch", "discriminator")
