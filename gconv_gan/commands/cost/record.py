"""A record of speed: one JSON file per day and device, written as soon as each result is measured.

Its keys: ``commit``, ``date``, ``device``, ``versions``, ``ceilings`` (the device's measured limits), ``cases`` (times of training
iterations), ``ratios`` (times of two programs relative to each other, pair by pair), ``laws`` (cost against batch, width, resolution and
kernels), ``predictions`` (what dry runs promise, and what runs then take) and ``failures``. Every result names its own
commit, since parts of a record can be measured anew.
"""

import contextlib
import json
import math
import re
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.commands.cost.step_cost import VIEWS
from gconv_gan.config.base import PrecisionName
from gconv_gan.metrics.cost import busy_seconds
from gconv_gan.runtime.device import command_device, device_name, processor
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.precision import float32_products, products_of
from gconv_gan.runtime.run_folder import versions

PLAIN_FORMULATION = "plain formulation / ours"
FUSED_NORMS = "torch's BatchNorm and rectifier / fused"
D_STEP = "ConvNorm / spectral norm, a step of D"
"""The name of the comparison of discriminator steps alone."""


@dataclass(frozen=True)
class SpeedRatio:
    """Time of another program over ours, or of a variant over the plain network."""

    part: str
    """Part of the benchmark."""
    name: str
    """What is compared, numerator first."""
    setting: str
    """Sizes of the comparison."""
    median: float
    quartiles: tuple[float, float]
    pairs: int
    milliseconds: float
    """Median time of the denominator."""
    memory: float | None = None
    """Peak memory of the numerator over the denominator's; None: not compared."""
    macs: int | None = None
    """MACs of the program that is judged; None: it is not arithmetic that limits it."""
    bytes_moved: int | None = None
    """Bytes that its operations read and write, each operation alone."""
    floor_ms: float | None = None
    """The larger of MACs over the device's measured convolutions and bytes over its measured copies."""


class SpeedRecord:
    """A record's content and its file.

    Args:
        file: JSON file; results are added if it exists.

    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.held: dict[str, Any] = json.loads(file.read_text()) if file.exists() else about()

    def add(self, section: str, row: Any, *, key: Sequence[str] = ()) -> None:
        """Append a dataclass or a dictionary, with its commit, to a section in place of the row with equal ``key``; write the file."""
        values = {**(row if isinstance(row, dict) else asdict(row)), "commit": _commit()}
        if self.file.exists():  # another process may have added to it
            self.held = json.loads(self.file.read_text())
        rows = self.held.setdefault(section, [])
        if key:
            rows[:] = [one for one in rows if any(one[name] != values[name] for name in key)]
        rows.append(values)
        self.write()

    def require_ceilings(self) -> dict[str, float]:
        """Return the device's limits, measured once per record."""
        if "ceilings" not in self.held:
            self.held["ceilings"] = ceilings(command_device())
            self.write()
        found: dict[str, float] = self.held["ceilings"]
        return found

    def write(self) -> None:
        """Write the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.file, json.dumps(self.held, indent=1) + "\n")


def record_path(folder: Path) -> Path:
    """Return the file of today's record of this device."""
    name = re.sub(r"[^A-Za-z0-9]", "_", device_name())
    return folder / f"{date.today()}_{name}.json"


def newest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the newest record of every device, by the device's name."""
    found = {}
    for file in sorted(folder.glob("*.json")):  # names begin with the day
        content = json.loads(file.read_text())
        if "device" in content and "versions" in content:
            found[content["device"]] = content
    return found


def commits(record: Mapping[str, Any]) -> list[str]:
    """Return the commits at which the results of a record were measured, or that of its beginning where they do not name theirs."""
    rows = [row for section in record.values() if isinstance(section, list) for row in section]
    return sorted({row.get("commit") or record["commit"] or "unknown" for row in rows})


@cache
def _commit() -> str | None:
    with contextlib.suppress(OSError):  # no git
        return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip() or None
    return None


def about() -> dict[str, Any]:
    """Return a record without results: commit, day, device, processor, versions."""
    return {
        "commit": _commit(),
        "date": str(date.today()),
        "device": device_name(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "cases": [],
    }


def ceilings(device: torch.device) -> dict[str, float]:
    """Return the measured limits of a device: TFLOP/s of large products and convolutions, TB/s of a copy."""
    cuda = device.type == "cuda"
    source = torch.empty(2**28 if cuda else 2**25, device=device).normal_()
    found = {"copy TB/s": 2 * source.nbytes / _best(partial(torch.empty_like(source).copy_, source), device) / 1e12}
    side, batch = (8192, 64) if cuda else (1024, 4)
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16", "tf32") if cuda else ("fp32",)
    for name in precisions:
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        a = torch.randn(side, side, device=device, dtype=dtype)
        x = torch.randn(batch, 256, 32, 32, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        flops = 2 * batch * 256 * 256 * 9 * 32**2
        with float32_products(products_of(name), device):
            found[f"matmul {name} TFLOP/s"] = 2 * side**3 / _best(partial(torch.matmul, a, a), device) / 1e12
            found[f"conv {name} TFLOP/s"] = flops / _best(partial(torch.conv2d, x, w, padding=1), device) / 1e12
    return found


def floor_ms(limits: dict[str, float], *, macs: int, moved: int | None = None, precision: PrecisionName = "fp32") -> float:
    """Return the milliseconds below which a device cannot be: two operations per MAC, and ``moved`` bytes, at its measured limits."""
    arithmetic = 2e-9 * macs / limits[f"conv {precision} TFLOP/s"]
    return max(arithmetic, 0.0 if moved is None else 1e-9 * moved / limits["copy TB/s"])


def pairs(
    numerator: Callable[[], object], denominator: Callable[[], object], *, count: int, device: torch.device
) -> list[tuple[float, float]]:
    """Return the seconds of both in ``count`` rounds that call them one after the other, after a warm-up of each."""
    for run in (numerator, denominator):
        run()
    return [(busy_seconds(numerator, device), busy_seconds(denominator, device)) for _ in range(count)]


def speed_ratio(part: str, name: str, setting: str, taken: Iterable[tuple[float, float]], **others: Any) -> SpeedRatio:
    """Return median and quartiles of the ratios of paired seconds."""
    taken = list(taken)
    ratios = [over / under for over, under in taken]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    milliseconds = 1000 * statistics.median(under for _, under in taken)
    return SpeedRatio(part, name, setting, median, (low, high), len(ratios), milliseconds, **others)


class BytesMoved(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Sums, over all operations that are not views, the bytes of the tensors they read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in VIEWS:
            for tensor in pytree.tree_leaves((args, kwargs, result)):
                if isinstance(tensor, Tensor):
                    self.total += tensor.numel() * tensor.element_size()
        return result


def bytes_moved(run: Callable[[], object]) -> int:
    """Return the bytes that the operations of ``run`` read and write, each operation alone."""
    with BytesMoved() as mode:
        run()
    return int(mode.total)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return b of the least-squares fit log y = a + b log x."""
    xs, ys = zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)
    return statistics.linear_regression(xs, ys).slope


def _best(run: Callable[[], object], device: torch.device) -> float:
    def five() -> None:
        for _ in range(5):
            run()

    run()
    return min(busy_seconds(five, device) for _ in range(4)) / 5
