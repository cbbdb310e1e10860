"""The memory layout of each network's kernels and feature maps, and the kernels of its batch normalisation, by measurement.

On a GPU one forward and backward pass is captured and timed with maps in channels last and contiguous (channels first), and in both with
batch normalisation by torch's kernels and by the fused ones of this package. That is done once per device, network and batch, and the
fastest is stored in the folder of converted data. A run keeps what its checkpoints name, since it changes the last bits of its numbers.
Without a measurement, on CPUs above all, the layout is channels last and the kernels are torch's.
"""

import copy
import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from gconv_gan.config.base import Deterministic, PrecisionName
from gconv_gan.layers.norms.batch_norm import fuse_batch_norms
from gconv_gan.layers.norms.global_batch import check_fused_kernels, triton_is_installed
from gconv_gan.layers.norms.running_statistics import statistics_of_one_process
from gconv_gan.layers.weights import channels_last
from gconv_gan.methods.method import Layout, PlayerName, contiguous_input
from gconv_gan.metrics.cost import rounds, training_step
from gconv_gan.runtime import capture
from gconv_gan.runtime.capture import reason
from gconv_gan.runtime.determinism import deterministic_kernels
from gconv_gan.runtime.device import device_name
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.precision import float32_products, products_of
from gconv_gan.training.checkpoint import STATE

FILE = "layouts.json"
ROUNDS = 15
WARM_UP = 2
GAIN = 0.95
"""What is not the rule is chosen where it takes at most this share of the time."""

Example = tuple[nn.Module, tuple[Tensor, ...]]
"""A network on the CPU, and inputs of a step of one process."""


def chosen_layouts(
    examples: Mapping[PlayerName, Callable[[], Example]],
    described: Mapping[PlayerName, Any],
    *,
    measure: bool | Literal["auto"],
    precision: PrecisionName | None,
    deterministic: Deterministic,
    resumes_from: Path | None,
    cache_dir: Path,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> dict[PlayerName, Layout]:
    """Return the layout of each network, equal on every process.

    Args:
        examples: the networks with inputs; called only where something is measured.
        described: JSON data that determine a network and its batch.
        measure: ``trainer.measure``; only CUDA devices are measured.
        precision: of the run.
        deterministic: of the run.
        resumes_from: the checkpoint from which the run goes on, whose layouts are kept; None: a new run.
        cache_dir: folder of the measurements.
        accelerator: device and processes.
        say: called with one sentence where a network cannot be measured.

    """
    if resumes_from is not None:
        stored: dict[PlayerName, Layout] = json.loads((resumes_from / STATE).read_text()).get("layouts", {})
        kept: dict[PlayerName, Layout] = {name: stored.get(name, "channels_last") for name in examples}
        if any(layout.endswith("fused") for layout in kept.values()) and not triton_is_installed():
            say("the run was begun with fused kernels of batch normalisation, which need Triton; it goes on with other last bits")
        return kept
    found: dict[PlayerName, Layout] = dict.fromkeys(examples, "channels_last")
    if measure is False or not capture.captures(accelerator.device):
        return found
    if accelerator.is_main_process:
        for name, example in examples.items():
            parts = [device_name(), torch.__version__, precision, accelerator.mixed_precision, deterministic, described[name]]
            try:
                result = remembered(cache_dir / FILE, parts, partial(_measured, example, precision, deterministic, accelerator, say))
            except RuntimeError as error:  # out of memory, or what no graph holds
                say(f"the {name}'s layout is channels last, and was not measured: {reason(error)}")
                continue
            found[name] = result["layout"]
    every: list[Any] = broadcast_object_list([found])
    return dict(every[0])


def remembered(file: Path, parts: Sequence[Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``file`` holds about ``parts``, JSON data; else what ``measure`` returns, and store it."""
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    known: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    if key not in known:
        known[key] = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(known, indent=1, sort_keys=True) + "\n")
    result: dict[str, Any] = known[key]
    return result


def _measured(
    example: Callable[[], Example],
    precision: PrecisionName | None,
    deterministic: Deterministic,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return the fastest layout, and the milliseconds of a forward and backward pass in each."""
    network, inputs = example()
    place = capture.recorder(accelerator.device)
    replays: dict[Layout, Callable[[], None]] = {}
    kept = []  # what the graphs read and write
    for layout in _LAYOUTS + (_FUSED if fuse_batch_norms(network, False) and fused_kernels_work(accelerator.device, say) else ()):
        twin = laid_out(copy.deepcopy(network).to(accelerator.device), layout)
        step = training_step(twin, *(tensor.to(accelerator.device) for tensor in inputs))

        def run(step: Callable[[], None] = step) -> None:
            with ExitStack() as stack:
                stack.enter_context(float32_products(products_of(precision), accelerator.device))
                if deterministic is not False:
                    stack.enter_context(deterministic_kernels(accelerator.device))
                stack.enter_context(statistics_of_one_process())
                stack.enter_context(accelerator.autocast())
                step()

        for _ in range(WARM_UP):
            place.aside(run)
        replays[layout] = place.record(run)
        kept.append((twin, step))
    taken = rounds(replays, repeats=ROUNDS, device=accelerator.device)
    return {"layout": faster(taken), **{layout: 1000 * statistics.median(times) for layout, times in taken.items()}}


_LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")
_FUSED: tuple[Layout, ...] = ("channels_last_fused", "contiguous_fused")


def fused_kernels_work(device: torch.device, say: Callable[[str], None]) -> bool:
    """Return whether the fused kernels compute the right values on the device; if they fail, ``say`` why."""
    if device.type != "cuda" or not triton_is_installed():
        return False
    try:
        check_fused_kernels(device)
    except Exception as error:  # Triton's errors have no common class
        say(f"the fused kernels of batch normalisation are not used: {reason(error)}")
        return False
    return True


def laid_out(network: nn.Module, layout: Layout) -> nn.Module:
    """Return the network itself, whose kernels now have the layout, and its inputs too where it is contiguous."""
    if layout.startswith("channels_last"):
        channels_last(network)
    else:
        network.register_forward_pre_hook(contiguous_input)
    fuse_batch_norms(network, layout.endswith("fused"))
    return network


def faster(taken: Mapping[Layout, Sequence[float]]) -> Layout:
    """Return the layout by the median of the ratios of pairs: another than "channels_last" only where it saves a twentieth."""
    shares = {
        layout: statistics.median(mine / other for mine, other in zip(times, taken["channels_last"], strict=True))
        for layout, times in taken.items()
    }
    best = min(shares, key=lambda layout: shares[layout])
    return best if shares[best] < GAIN else "channels_last"
