"""Fixtures of all tests."""

from collections.abc import Iterator

import jaxtyping
import pytest
from accelerate.state import AcceleratorState

from tests.type_checks import checked

jaxtyping.jaxtyped = checked  # by which the import hook of `--jaxtyping-packages` decorates; nothing of the package is imported yet


@pytest.fixture
def fresh_accelerate_state() -> Iterator[None]:
    """Let a test choose Accelerate's precision, which is fixed once per process otherwise."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
