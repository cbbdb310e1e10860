"""The members of a config union, read from the union itself, so that tests cover kinds that are added to it."""

from typing import Any, get_args

from gconv_gan.config.base import Config


def members(union: Any) -> tuple[type[Config], ...]:
    """Return the models of ``union``: ``Annotated[A | B, Field(discriminator="kind")]``, a plain union, or a single model."""
    if isinstance(union, type):
        return (union,)
    found: list[type[Config]] = []
    for argument in get_args(union):
        if isinstance(argument, type) and issubclass(argument, Config):
            found.append(argument)
        elif get_args(argument):
            found.extend(members(argument))
    return tuple(found)
