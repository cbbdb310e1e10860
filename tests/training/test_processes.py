"""Two gloo processes: averaged gradients, shared weights, the guard on both for one's gradient, and a signal agreed at a status line."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from torch import nn

from gconv_gan.commands.train import gan as recipe
from gconv_gan.config.errors import StoppedBySignalError
from gconv_gan.data.cache import open_dataset
from gconv_gan.methods.method import Player
from gconv_gan.optim.optimizers import adam
from gconv_gan.training import loop
from gconv_gan.training.guards import FiniteGuard, NotFiniteError
from gconv_gan.training.processes import average_gradients, share_weights
from gconv_gan.training.step import finish_step
from tests.processes import run_two
from tests.training.test_two_processes import free_ports
from tests.training.tiny import tiny

SIGNALLED = 3  # the iteration after which the second process gets a signal; a status line is written after every fourth


def config(folder: Path) -> Any:
    return tiny(folder, trainer={"log_every": 128, "checkpoint_every": 10_000})


def of_rank(rank: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(rank))


def one_of_two(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    os.environ["MASTER_PORT"] = str(port)
    found: dict[str, Any] = {}

    # a signal of one process, where agreeing would wait for a device
    asked = 0
    agree, factor = loop.stop_signal, loop.schedule_factor

    def counted(*arguments: Any) -> int:
        nonlocal asked
        asked += 1
        return agree(*arguments)

    iterations = 0

    def signalled(*arguments: Any, **options: Any) -> float:
        nonlocal iterations
        iterations += 1
        if rank == 1 and iterations == SIGNALLED:
            os.kill(os.getpid(), signal.SIGTERM)
        return factor(*arguments, **options)

    loop.agreeing_is_free = lambda _: False  # type: ignore[attr-defined]
    loop.stop_signal, loop.schedule_factor = counted, signalled  # type: ignore[attr-defined]
    try:
        recipe.fit(config(Path(folder)))
    except StoppedBySignalError as error:
        found["signal"] = str(error)
    found |= {"asked": asked, "iterations": iterations}

    # gradients and weights
    gradients = [of_rank(rank, 3, 2, 3, 3).contiguous(memory_format=torch.channels_last), of_rank(rank + 2, 4), of_rank(rank + 4)]
    strides = [gradient.stride() for gradient in gradients]
    average_gradients(gradients)
    expected = [(of_rank(start, *shape) + of_rank(start + 1, *shape)) / 2 for start, shape in ((0, (3, 2, 3, 3)), (2, (4,)), (4, ()))]
    found["averaged"] = all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))
    found["strides"] = strides == [gradient.stride() for gradient in gradients]
    torch.manual_seed(rank)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)
    network[1].running_mean.fill_(rank)  # type: ignore[union-attr,operator]
    share_weights(network)
    torch.manual_seed(0)
    first = nn.Conv2d(2, 3, 3)
    found["shared"] = network[0].weight.equal(first.weight) and float(network[1].running_mean.sum()) == 0  # type: ignore[union-attr,operator,arg-type]

    # a gradient that is not finite on one process
    player, guard = Player("classifier", nn.Linear(3, 2), adam, 0.1), FiniteGuard(torch.device("cpu"))
    share_weights(player.network)
    before = player.network.weight.clone()  # type: ignore[operator]
    player.network(torch.full((1, 3), torch.inf if rank else 1.0)).sum().backward()
    finish_step(player, methods=(), guard=guard, max_grad_norm=None, images_seen=torch.tensor(32))
    found["kept"] = player.network.weight.equal(before)  # type: ignore[operator]
    try:
        guard.require_finite()
    except NotFiniteError as error:
        found["guard"] = str(error)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("both")
    open_dataset(config(folder).data)
    run_two(one_of_two, str(folder), free_ports(1)[0])
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_gradients_are_averaged_in_place_and_weights_are_those_of_the_first(both: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in both[1]:
        assert {name: found[name] for name in ("averaged", "strides", "shared")} == dict.fromkeys(("averaged", "strides", "shared"), True)


def test_a_gradient_that_is_not_finite_on_one_process_stops_both(both: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in both[1]:
        assert found["kept"]
        assert "classifier's gradient is not finite after 32 images, first in weight" in found["guard"]


def test_processes_agree_on_a_signal_at_the_next_status_line_and_save(both: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, results = both
    for found in results:
        assert (found["asked"], found["iterations"]) == (1, 4)
        assert found["signal"] == str(StoppedBySignalError(signal.SIGTERM))
    assert (folder / "tiny" / "checkpoint-128").is_dir()
