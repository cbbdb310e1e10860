"""Cost of an iteration of a GAN run on this machine: processor time, and the number of operations of each file of the package.

The iterations are those of the training loop, on noise in place of real images. Processor time counts this process alone, so other load
on the machine affects it less than elapsed time; with one thread (OMP_NUM_THREADS=1) it is the time on an idle machine. To compare two
versions of the code, run the command in both by turns.
"""

import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.step_time import noise_task
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.config.errors import UserError
from gconv_gan.config.help_page import CONFIG, HELP, KEYS, PLUGINS, Group, help_page
from gconv_gan.config.load import asks_for_help, load_config, program, typed
from gconv_gan.config.sections.objective import AnyPenalty
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.training.adversarial import Adversarial

PACKAGE = f"{Path(__file__).parents[2]}/"
WARM_UP, BLOCKS, BLOCK = 2, 8, 3  # iterations, blocks of iterations, iterations of a block
# fmt: off
VIEWS = {
    "view", "_unsafe_view", "_reshape_alias", "t", "transpose", "permute", "expand", "select", "slice", "unsqueeze", "squeeze",
    "split", "split_with_sizes", "unbind", "detach", "alias", "as_strided", "diagonal", "unfold", "empty", "empty_strided",
    "empty_like", "new_empty", "new_empty_strided", "lift_fresh", "promote_types", "is_same_size", "_record_function_enter_new",
    "_record_function_exit",
}
# fmt: on
"""Operations that are not counted: views, allocations, and operations of the host alone."""


SUMMARY = "Measure the processor time of an iteration of a GAN run, and count the operations of each file of the package."


def main(arguments: Sequence[str]) -> None:
    """Print the costs of the run that ``CONFIG.toml [overrides]`` describes."""
    if asks_for_help(arguments[:1]):
        groups = [Group("arguments", [CONFIG]), Group("options", [KEYS, PLUGINS, HELP])]
        print(help_page(f"{typed()} CONFIG [--KEY VALUE ...]", SUMMARY, groups))
        return
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"give a config file, with overrides behind it: {program()} CONFIG [--KEY VALUE ...]")
    config = load_config(GANRunConfig, arguments[0], arguments[1:])
    accelerator = build_accelerator(config)
    task = noise_task(config, check(config, accelerator, None), accelerator)
    task.begin(accelerator)
    low, middle, high = processor_time(task, config)
    print(f"{1000 * middle:.1f} ms of processor time an iteration (quartiles {1000 * low:.1f} and {1000 * high:.1f})")
    counted = operations(task)
    print(f"{sum(counted.values())} operations in an iteration, views and allocations left out")
    for file in sorted({file for file, _ in counted}, key=lambda file: -counted[file, False] - counted[file, True]):
        print(f"{counted[file, False]:7} forward {counted[file, True]:7} backward  {file}")


def processor_time(task: Adversarial, config: GANRunConfig) -> list[float]:
    """Return the quartiles, over blocks of iterations, of the seconds of this process's processor time an iteration takes.

    A block is as long as the cycle of a lazy penalty. Inputs are drawn within the time.
    """
    penalty = config.objective.penalty
    block = max(BLOCK, penalty.every if isinstance(penalty, AnyPenalty) else 1)
    taken = []
    for count in (WARM_UP, *[block] * BLOCKS):
        begun = time.process_time()
        for _ in range(count):
            task.set_schedules(1.0)
            task.iterate(*task.prepare())
            task.advance()
        taken.append((time.process_time() - begun) / count)
    return statistics.quantiles(taken[1:], n=4)


def operations(task: Adversarial) -> Counter[tuple[str, bool]]:
    """Return the number of operations of the next iteration by (file of the package, whether it is of a backward pass)."""
    task.set_schedules(1.0)
    variant, inputs = task.prepare()
    with torch.autograd.set_detect_anomaly(True, check_nan=False), Operations() as mode:
        task.iterate(variant, inputs)
    counted: Counter[tuple[str, bool]] = mode.counted
    return counted


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Count operations by the innermost line of the package; those of a backward pass by the line whose derivative they are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted: Counter[tuple[str, bool]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ not in VIEWS:
            node = torch._C._current_autograd_node()
            in_python = node is None or isinstance(node, torch.autograd.function.BackwardCFunction)
            file = _of_frames(sys._getframe(1)) if in_python else _of_node(node)
            self.counted[file, node is not None] += 1
        return func(*args, **(kwargs or {}))


def _of_frames(frame: FrameType | None) -> str:
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE) and frame.f_code.co_filename != __file__:
            return frame.f_code.co_filename.removeprefix(PACKAGE)
        frame = frame.f_back
    return "outside"


def _of_node(node: Any) -> str:
    """Return the file of the operation of the forward pass; of a node made by a backward pass, that of the node it was made by."""
    while node is not None:
        found = re.findall(rf'File "{re.escape(PACKAGE)}([^"]+)"', "".join(node.metadata.get("traceback_", ())))
        if found:
            return str(found[-1])
        node = node.metadata.get("parent_")
    return "outside"
