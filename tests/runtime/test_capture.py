"""Forward passes that are captured: results, shapes, weights that change, and what cannot be captured."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gconv_gan.runtime import capture
from gconv_gan.runtime.capture import ForwardPass, fill
from tests.reference.recorder import Recorder

CPU = torch.device("cpu")
WEIGHT = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def product(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    z = (x @ WEIGHT).relu()
    return z if y is None else z + y, x.sum(1)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: made)
    return made


def test_a_shape_is_captured_at_its_third_call_and_gives_the_values_of_the_function(recorder: Recorder) -> None:
    forward = ForwardPass(product, CPU, what="the product")
    draw = torch.Generator().manual_seed(1)
    for count in (5, 5, 5, 2, 5, 2, 5):
        x, y = torch.randn(count, 3, generator=draw), torch.randn(count, 4, generator=draw)
        for one, other in zip(forward(x, y), product(x, y), strict=True):
            assert one.equal(other)
    assert (recorder.warmed, recorder.recorded, recorder.replays) == (4, 1, 3)


def test_without_labels_and_with_weights_that_changed_in_place(recorder: Recorder) -> None:
    forward, x = ForwardPass(product, CPU, what="the product"), torch.ones(2, 3)
    before = [forward(x, None)[0] for _ in range(4)]
    WEIGHT.add_(1)
    try:
        assert forward(x, None)[0].equal(product(x, None)[0])
        assert not forward(x, None)[0].equal(before[0])
    finally:
        WEIGHT.sub_(1)
    assert all(result.equal(before[0]) for result in before)  # a later call does not write to earlier results
    assert recorder.recorded == 1


@pytest.mark.parametrize("call", [2, 3])
def test_what_cannot_be_captured_is_called_and_reported_once(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Recorder):
        def aside(self, function: Callable[[], None]) -> None:
            super().aside(function)
            if self.warmed == call:
                raise RuntimeError("called a synchronizing CUDA operation")

        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: Refusing())
    said: list[str] = []
    forward, x = ForwardPass(product, CPU, what="the product", say=said.append), torch.ones(2, 3)
    for _ in range(5):
        assert forward(x, None)[0].equal(product(x, None)[0])
    message = "called a synchronizing CUDA operation" if call == 2 else "operation not permitted when stream is capturing"
    assert said == [f"the product runs operation by operation, not as a CUDA graph: the capture failed ({message})"]


def test_a_cpu_calls_the_function() -> None:
    calls: list[Tensor] = []
    forward = ForwardPass(lambda x: (calls.append(x), x)[1:], CPU, what="it")
    x = torch.ones(1)
    for _ in range(4):
        assert forward(x)[0] is x
    assert len(calls) == 4


def test_leaves_that_are_no_tensors_are_left_as_they_are() -> None:
    static = [torch.zeros(2), None, 3]
    fill(static, (torch.ones(2), None, 4))
    assert static[0].tolist() == [1, 1]  # type: ignore[union-attr]
    assert static[1:] == [None, 3]


def test_a_stream_is_given_out_once_and_again_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        """torch hands out 32 streams of each priority in turn."""

        made = 0

        def __init__(self, _: torch.device, *, priority: int) -> None:
            Stream.made += 1
            self.device_index, self.stream_id = 0, Stream.made % 32 + (100 if priority else 0)

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(capture, "_TAKEN", set())
    streams = [capture.own_stream(CPU) for _ in range(64)]
    assert len({stream.stream_id for stream in streams}) == 64
    with pytest.raises(RuntimeError, match="all 64 CUDA streams of the process are in use"):
        capture.own_stream(CPU)
    gone = streams.pop(3).stream_id
    assert capture.own_stream(CPU).stream_id == gone
