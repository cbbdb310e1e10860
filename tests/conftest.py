"""Fixtures of all tests."""

import gc
from collections.abc import Iterator

import jaxtyping
import pytest
from accelerate.state import AcceleratorState

from tests.type_checks import checked

jaxtyping.jaxtyped = checked  # by which the import hook of `--jaxtyping-packages` decorates; nothing of the package is imported yet
gc.disable()  # until all is imported


def pytest_collection_finish() -> None:
    """Keep the garbage collector from the modules and tests, which stay: it took a seventh of the time to look through them again."""
    gc.set_threshold(5000)
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture
def fresh_accelerate_state() -> Iterator[None]:
    """Let a test choose Accelerate's precision, which is fixed once per process otherwise."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
