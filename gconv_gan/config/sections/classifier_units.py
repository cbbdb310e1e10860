"""Config of a named classifier, whose parts can be exchanged."""

from typing import Annotated, Literal

from gconv_gan.config.schema import Choice, PartConfig


class NamedClassifierConfig(PartConfig):
    """A network of the table in ``models/classifiers/named.py``, with any of its parts exchanged."""

    kind: Literal["named"] = "named"
    name: str
    """Its name in the table: wrn_28_10, resnet18_cifar, resnext29_32x4d, …"""
    conv: Annotated[PartConfig, Choice("CLASSIFIER_CONVS", default="defined")]
    """Every convolution."""
    norm: Annotated[PartConfig, Choice("CLASSIFIER_NORMS", default="defined")]
    """Every normalisation."""
    activation: Annotated[str, Choice("ACTIVATIONS", name_only=True, default="defined", extra=("defined",))]
    """Every activation of the trunk."""
    attention: Annotated[PartConfig, Choice("ATTENTIONS", default="defined")]
    """At the end of each residual branch."""
    order: Literal["defined", "standard", "whitened"] = "defined"
    """convolution, norm, activation; or norm, convolution, activation, the whitening unit."""
    options: dict[str, bool | int | float | str | tuple[int | float, ...]] = {}
    """Keyword arguments of the network's class: dropout, widths, depths, …"""
