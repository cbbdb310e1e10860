"""The faster decorator of type checks refuses what jaxtyping's refuses."""

from collections.abc import Iterator
from typing import Any

import beartype
import jaxtyping
import pytest
import torch
from jaxtyping import Float, Int, TypeCheckError
from torch import Tensor

from gconv_gan.losses.adversarial import Hinge

typed = jaxtyping.jaxtyped(typechecker=beartype.beartype)


@typed
def scaled(x: Float[Tensor, "n c"], factor: "Float[Tensor, ' c']", *, twice: bool = False) -> Float[Tensor, "n c"]:
    return (x * factor)[:1] if twice else x * factor


@typed
def length(x: "list[int]") -> int:
    return len(x) or "none"  # type: ignore[return-value]


@typed
def rows(x: Float[Tensor, "n c"]) -> Iterator[Float[Tensor, " c"]]:
    yield from x


class Kinds:
    @staticmethod
    @typed
    def of(x: Int[Tensor, " n"] | None) -> int:
        return 0 if x is None else len(x)


def test_what_fits_is_returned() -> None:
    assert scaled(torch.ones(2, 3), torch.ones(3)).shape == (2, 3)
    assert (length([1]), Kinds.of(None), len(list(rows(torch.ones(2, 3))))) == (1, 0, 2)


@pytest.mark.parametrize(
    ("function", "arguments", "options"),
    [
        (scaled, (torch.ones(2), torch.ones(3)), {}),
        (scaled, (torch.ones(2, 3), torch.ones(1)), {}),  # another size of an axis that was named before
        (scaled, (torch.ones(2, 3), torch.ones(3)), {"twice": True}),  # the result has too few rows
        (scaled, (torch.ones(2, 3), torch.ones(3)), {"twice": 1}),
        (scaled, (torch.ones(2, 3).int(), torch.ones(3)), {}),
        (length, ("1",), {}),
        (length, ([],), {}),
        (rows, (torch.ones(2),), {}),
        (Kinds.of, (torch.ones(2),), {}),
        (Hinge().generator, (torch.ones(2, 2), torch.ones(2)), {}),  # a function of the package
    ],
)
def test_what_does_not_fit_is_refused(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(TypeCheckError):
        function(*arguments, **options)


def test_axes_of_one_call_say_nothing_about_another() -> None:
    assert scaled(torch.ones(2, 3), scaled(torch.ones(1, 3), torch.ones(3))[0]).shape == (2, 3)
    assert scaled(torch.ones(4, 5), torch.ones(5)).shape == (4, 5)
