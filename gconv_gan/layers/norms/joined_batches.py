"""Passes of a network over several batches at once: fewer operations, and each batch keeps the statistics that it has alone.

A layer that reads its batch as a whole (batch normalisation, a running mean) divides the images of a joined pass by ``batches_of`` and
treats the batches in turn, so that results and buffers are those of one pass per batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrizations import _SpectralNorm

_count: ContextVar[int] = ContextVar("batches_in_a_pass", default=1)


@contextmanager
def joined_batches(count: int) -> Iterator[None]:
    """Let every pass of the scope be one over ``count`` equal batches, concatenated along the first axis."""
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def batch_count() -> int:
    """Return the number of batches of the present pass; 1 outside ``joined_batches``."""
    return _count.get()


def batches_of(x: Tensor) -> Sequence[Tensor]:
    """Return the batches whose concatenation is ``x``."""
    return x.chunk(_count.get())


def can_be_joined(network: nn.Module) -> bool:
    """Return whether a pass of ``network`` in training mode over several batches equals one pass per batch.

    It does not where a layer reads its images together (``couples_batch``) without ``separates_batches``, by which a layer declares
    that it uses ``batches_of``; where a pass changes the weights of the next (spectral normalisation); or draws from torch's generator.
    Of a class from outside this package and torch nothing is assumed but what it declares itself: ``couples_batch = False``, or
    ``separates_batches = True``.
    """
    return all(map(_can_be_joined, network.modules()))


def _can_be_joined(module: nn.Module) -> bool:
    kind = type(module)
    own = kind.__module__.partition(".")[0] in ("torch", __name__.partition(".")[0])
    declared = [vars(one) for one in (kind.__mro__ if own else (kind,))]
    if any(attributes.get("separates_batches", False) for attributes in declared):
        return True
    known = [attributes["couples_batch"] for attributes in declared if "couples_batch" in attributes]
    return not (known[0] if known else not own or isinstance(module, _BatchNorm | _DropoutNd | _SpectralNorm))
