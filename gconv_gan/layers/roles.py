"""The role of a parameter, on which its learning rate and decay depend.

The class attribute ``roles`` of a normalisation layer names its parameters, and its sub-modules with all their parameters, that are scales
or other parameters of the norm. A parameter without a role is a bias if it has fewer than two axes or the name of one, else a weight.
"""

from collections.abc import Mapping
from typing import Literal

Role = Literal["norm_scale", "norm_other", "bias", "weight"]

NORM_ROLES: Mapping[str, Role] = {"weight": "norm_scale", "bias": "norm_other", "mix": "norm_other"}
"""Roles of a norm with its own scale and shift."""
MODULATED_ROLES: Mapping[str, Role] = {"scale": "norm_scale", "shift": "norm_other"}
"""Roles of a norm whose scale and shift are computed by sub-modules."""
