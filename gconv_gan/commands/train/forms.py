"""The forms in which a run computes its convolutions (resampling fused or apart, the strategy of a bank), by measurement.

Each layer with forms is timed alone, forward and backward, on inputs of its shapes; layers of equal shapes once. The results are stored in
the folder of converted data by device, versions and shapes, and used by later runs. A run keeps the forms that its checkpoints name, since
they change the last bits of its numbers. Without a measurement the form is that of each layer's rule.
"""

import copy
import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from gconv_gan.commands.train.layouts import Example, laid_out, remembered
from gconv_gan.config.base import Deterministic, PrecisionName
from gconv_gan.layers.forms import HasForms, with_forms
from gconv_gan.layers.norms.running_statistics import statistics_of_one_process
from gconv_gan.methods.method import Layout, PlayerName
from gconv_gan.metrics.cost import busy_seconds, peak_bytes, training_step
from gconv_gan.runtime import capture
from gconv_gan.runtime.determinism import deterministic_kernels
from gconv_gan.runtime.device import device_name, processor
from gconv_gan.runtime.precision import float32_products, products_of
from gconv_gan.training.checkpoint import STATE

FILE = "forms.json"
RULE = "rule"
WARM_UP = 2
ROUNDS = 15
SECONDS = 1.0
"""Time after which no further round of a layer begins, if it has had ``FEWEST``."""
FEWEST = 3
GAIN = 0.95
"""A form replaces the rule's where it takes at most this share of its time,"""
MORE_MEMORY = 1.25
"""and at most this multiple of its memory."""


@dataclass(frozen=True)
class Setting:
    """The settings of a run that act on the time of its layers."""

    precision: PrecisionName | None
    deterministic: Deterministic
    accelerator: Accelerator

    def described(self) -> list[Any]:
        """Return them as JSON data, with device and versions."""
        device = device_name() if self.accelerator.device.type == "cuda" else f"{processor()}, {torch.get_num_threads()} threads"
        return [device, torch.__version__, self.precision, self.accelerator.mixed_precision, self.deterministic]

    def apply(self, run: Callable[[], object]) -> None:
        """Call ``run`` as an iteration calls its layers, on this process's batch alone."""
        device = self.accelerator.device
        with ExitStack() as stack:
            stack.enter_context(float32_products(products_of(self.precision), device))
            if self.deterministic is not False:
                stack.enter_context(deterministic_kernels(device))
            stack.enter_context(statistics_of_one_process())
            stack.enter_context(self.accelerator.autocast())
            run()


def measured_forms(
    examples: Mapping[PlayerName, Callable[[], Example]],
    layouts: Mapping[PlayerName, Layout],
    setting: Setting,
    *,
    measure: bool | Literal["auto"],
    resumes_from: Path | None,
    cache_dir: Path,
    say: Callable[[str], None],
) -> dict[PlayerName, dict[str, str]]:
    """Return the form of each layer that is not left to its rule, by network and name; equal on every process.

    Args:
        examples: the networks with inputs; called only where something is measured.
        layouts: the memory layout of each network.
        setting: precision, determinism and device.
        measure: ``trainer.measure``.
        resumes_from: the checkpoint from which the run goes on, whose forms are kept; None: a new run.
        cache_dir: folder of the measurements.
        say: called with one sentence on what was chosen, and with one where a layer cannot be measured.

    """
    if resumes_from is not None:
        stored: dict[PlayerName, dict[str, str]] = json.loads((resumes_from / STATE).read_text()).get("forms", {})
        return {name: stored.get(name, {}) for name in examples}
    found: dict[PlayerName, dict[str, str]] = {name: {} for name in examples}
    if measure is False or (measure == "auto" and not capture.captures(setting.accelerator.device)):
        return found
    if setting.accelerator.is_main_process:
        for name, example in examples.items():
            found[name] = _forms_of(name, example(), layouts[name], setting, cache_dir / FILE, say)
    every: list[Any] = broadcast_object_list([found])
    return dict(every[0])


def _forms_of(
    player: PlayerName, example: Example, layout: Layout, setting: Setting, file: Path, say: Callable[[str], None]
) -> dict[str, str]:
    """Return the forms of a network's layers, stored ones or measured."""
    network, inputs = example
    if not with_forms(network):
        return {}
    begun, measured = time.perf_counter(), 0
    device = setting.accelerator.device
    twin = laid_out(copy.deepcopy(network).to(device), layout)
    called = _inputs_of_layers(twin, tuple(tensor.to(device) for tensor in inputs), setting)
    found = {}
    for name, arguments in called.items():
        layer = twin.get_submodule(name)
        assert isinstance(layer, HasForms)

        def measure(layer: nn.Module = layer, arguments: tuple[Any, ...] = arguments) -> dict[str, Any]:
            nonlocal measured
            measured += 1
            return _measured(layer, arguments, setting)

        x = arguments[0]
        last = x.is_contiguous(memory_format=torch.channels_last)
        parts = [*setting.described(), type(layer).__name__, repr(layer), list(layer.forms()), list(x.shape), str(x.dtype), last]
        try:
            form = remembered(file, parts, measure)["form"]
        except RuntimeError as error:  # out of memory, or what no graph holds
            say(f"{player}.{name} has the form of the rule, and was not measured: {capture.reason(error)}")
            continue
        if form != RULE:
            found[name] = form
    if measured:
        chosen = ", ".join(f"{name} {form}" for name, form in found.items()) or "all by the rule"
        taken = time.perf_counter() - begun
        say(f"forms of the {player}'s convolutions, {measured} measured in {taken:.1f} s and kept in {file}: {chosen}")
    return found


def _inputs_of_layers(network: nn.Module, inputs: tuple[Tensor, ...], setting: Setting) -> dict[str, tuple[Any, ...]]:
    """Return the inputs of each layer that has forms, in a pass in training mode."""
    called: dict[str, tuple[Any, ...]] = {}

    def note(name: str, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        called[name] = arguments

    layers = cast(Mapping[str, nn.Module], with_forms(network))
    hooks = [layer.register_forward_pre_hook(functools.partial(note, name)) for name, layer in layers.items()]
    network.train()
    with torch.no_grad():
        setting.apply(lambda: network(*inputs))
    for hook in hooks:
        hook.remove()
    return called


def _measured(layer: nn.Module, inputs: tuple[Any, ...], setting: Setting) -> dict[str, Any]:
    """Return the form that replaces the rule's, else "rule", and milliseconds and bytes of a forward and backward pass in each form."""
    assert isinstance(layer, HasForms)
    device = setting.accelerator.device
    place = capture.recorder(device) if capture.captures(device) else None
    runs: dict[str, Callable[[], None]] = {}
    memory: dict[str, int] = {}
    kept = []  # what graphs read and write
    for form in (RULE, *layer.forms()):
        twin = copy.deepcopy(layer)
        assert isinstance(twin, HasForms)
        twin.form = None if form == RULE else form
        step = functools.partial(setting.apply, training_step(twin, *inputs))
        kept.append(step)

        def weigh(form: str = form, step: Callable[[], None] = step) -> None:
            memory[form] = peak_bytes(step, device=device)

        weigh() if place is None else place.aside(weigh)
        if memory[form] > MORE_MEMORY * memory[RULE]:
            continue
        if place is None:
            runs[form] = step
            continue
        for _ in range(WARM_UP):
            place.aside(step)
        runs[form] = place.record(step)
    taken: dict[str, list[float]] = {form: [] for form in runs}
    until = time.perf_counter() + SECONDS
    for count in range(ROUNDS):
        if count < FEWEST or time.perf_counter() < until:
            for form, run in runs.items():
                taken[form].append(busy_seconds(run, device))
    times = {form: 1000 * statistics.median(seconds) for form, seconds in taken.items()}
    return {"form": fastest(taken), "ms": times, "bytes": memory}


def fastest(taken: Mapping[str, Sequence[float]]) -> str:
    """Return the form with the smallest median of its ratios to the rule's time in the same round; "rule" if it saves no twentieth."""
    ratios = {
        form: statistics.median([mine / other for mine, other in zip(seconds, taken[RULE], strict=True)]) for form, seconds in taken.items()
    }
    form = min(ratios, key=lambda name: ratios[name])
    return form if ratios[form] < GAIN else RULE
