"""The pass over the images waits for the device once at the end, and the extractors' forward passes are replayed as called."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gconv_gan.metrics.extractors.inception import InceptionExtractor
from gconv_gan.metrics.images.extraction import Wanted, extract
from gconv_gan.metrics.images.sources import FakeSource
from gconv_gan.runtime import capture
from tests.reference.host_free import HostReads
from tests.reference.recorder import Recorder
from tests.reference.small_extractor import SmallExtractor
from tests.reference.stub_extractor import StubExtractor
from tests.reference.tiny_generator import TinyGenerator

BYTES = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["small", "inception"])
def test_replayed_features_are_those_of_plain_calls(kind: str, random_inception: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, captured = (
        SmallExtractor() if kind == "small" else InceptionExtractor(random_inception, expected_sha256=None) for _ in range(2)
    )
    made = Recorder()
    expected = [plain(part) for part in BYTES.split(4)]
    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: made)
    found = [captured(part) for part in BYTES.split(4)]
    assert (made.recorded, made.replays) == (1, 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[0].equal(theirs[0])
        assert ours[1].equal(theirs[1])


class Ordered(FakeSource):
    """Keeps the order in which blocks are started and checked."""

    events: list[tuple[str, int]]

    def start_block(self, index: int) -> tuple[Tensor, Callable[[], None]]:
        images, require_finite = super().start_block(index)
        self.events.append(("started", index))

        def check() -> None:
            self.events.append(("checked", index))
            require_finite()

        return images, check


def test_a_block_is_checked_after_the_next_was_started() -> None:
    source = Ordered(TinyGenerator(), count=700, seed=0)
    source.events = []
    extract(source, [Wanted(StubExtractor(), 700)])
    assert [f"{event} {index}" for event, index in source.events] == [
        *("started 0", "started 1", "checked 0", "started 2", "checked 1", "checked 2")
    ]


def test_the_number_of_host_reads_does_not_depend_on_the_number_of_batches() -> None:
    found = []
    for batch_size in (8, 64):
        wanted = Wanted(StubExtractor(), 500, features=True, logits=True)
        with HostReads() as reads:
            extract(FakeSource(TinyGenerator(), count=500, seed=0, batch_size=batch_size), [wanted], batch_size=batch_size)
        found.append(reads.count)
    assert found[0] == found[1] == 2 + 1  # whether each block's images are finite, and whether all features are
