"""Learning rates as tensors on the device, so that a captured step reads the current value."""

from typing import Any

import torch


def hold_learning_rates(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Make the learning rate of every group a tensor [] on ``device``; call again after a state was loaded into the optimiser."""
    # fused CUDA kernels read float32; on a CPU float64 holds the exact value of the config
    dtype = torch.float64 if device.type == "cpu" else torch.float32
    for group in optimizer.param_groups:
        group["lr"] = torch.full((), float(group["lr"]), dtype=dtype, device=device)
        if "capturable" in group:
            group["capturable"] = device.type == "cuda"


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group: ``learning_rate``, times the group's ``lr_scale`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"].fill_(learning_rate * group.get("lr_scale", 1.0))


def plain_groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the optimiser's groups as plain data, as a checkpoint holds them."""
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    return [{**group, "lr": float(group["lr"]), **({"capturable": False} if "capturable" in group else {})} for group in groups]
