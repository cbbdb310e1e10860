"""Config of a named classifier, whose layers can be replaced."""

from typing import Annotated, Literal

from gconv_gan.config.schema import Choice, PartConfig


class NamedClassifierConfig(PartConfig):
    """A network of the table in ``models/classifiers/named.py``, with some of its layers replaced."""

    kind: Literal["named"] = "named"
    name: str
    """Name in the table: wrn_28_10, resnet18_cifar, resnext29_32x4d, …"""
    conv: Annotated[PartConfig, Choice("CLASSIFIER_CONVS", default="defined")]
    """Kind of every convolution."""
    norm: Annotated[PartConfig, Choice("CLASSIFIER_NORMS", default="defined")]
    """Kind of every normalisation."""
    activation: Annotated[str, Choice("ACTIVATIONS", name_only=True, default="defined", extra=("defined",))]
    """Kind of every activation of the trunk."""
    attention: Annotated[PartConfig, Choice("ATTENTIONS", default="defined")]
    """Kind of attention at the end of each residual branch."""
    order: Literal["defined", "standard", "whitened"] = "defined"
    """Order of the layers of a unit: convolution, norm, activation; or norm, convolution, activation (whitening unit)."""
    options: dict[str, bool | int | float | str | tuple[int | float, ...]] = {}
    """Keyword arguments of the network's class: dropout, widths, depths, …"""
