"""The role that a parameter plays, which decides its learning rate and decay.

A layer that normalises says by a class attribute ``roles`` which of its parameters, and of its sub-modules with all that they hold, are
scales or belong to the norm otherwise. What a layer does not name is a weight or, with fewer than two axes or by its name, a bias.
"""

from collections.abc import Mapping
from typing import Literal

Role = Literal["norm_scale", "norm_other", "bias", "weight"]

NORM_ROLES: Mapping[str, Role] = {"weight": "norm_scale", "bias": "norm_other", "mix": "norm_other"}
"""Of a norm with its own scale and shift."""
MODULATED_ROLES: Mapping[str, Role] = {"scale": "norm_scale", "shift": "norm_other"}
"""Of a norm whose scale and shift are made by sub-modules."""
