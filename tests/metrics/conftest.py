from pathlib import Path

import pytest

from tests.reference.random_inception import write_random_inception

CIFAR10_ZIP = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10.zip"


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the format of the Inception weights, with seeded random content."""
    return write_random_inception(tmp_path_factory.mktemp("weights") / "random-inception.pth")


@pytest.fixture(scope="session")
def cifar10_zip() -> Path:
    """The zip with train/ and test/ pictures of CIFAR-10."""
    if not CIFAR10_ZIP.is_file():
        pytest.skip(f"needs real pictures: {CIFAR10_ZIP} is absent")
    return CIFAR10_ZIP
