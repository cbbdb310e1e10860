"""Layers that compute one function in several forms, which differ in time, memory and rounding."""

from collections.abc import Mapping, Sequence

from torch import nn


class HasForms:
    """Base of layers with several forms. A measured one may replace that of the layer's fixed rule in training; evaluation uses the rule.

    Attributes:
        form: the form of passes in training mode, one of ``forms``; None: by the rule.

    """

    form: str | None = None
    training: bool

    def forms(self) -> Sequence[str]:
        """Return the forms that this layer can be computed in; empty if there is nothing to choose."""
        return ()

    @property
    def chosen_form(self) -> str | None:
        """Return the form of the present pass; None: by the rule."""
        return self.form if self.training else None


def with_forms(network: nn.Module) -> dict[str, HasForms]:
    """Return the layers of a network that have forms to choose from, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, HasForms) and module.forms()}


def chosen_forms(network: nn.Module) -> dict[str, str]:
    """Return the forms that are not left to the rule, by the name of the layer."""
    return {name: layer.form for name, layer in with_forms(network).items() if layer.form is not None}


def choose_forms(network: nn.Module, forms: Mapping[str, str]) -> None:
    """Set the form of every layer: that of its name, else by the rule."""
    for name, layer in with_forms(network).items():
        layer.form = forms.get(name)
