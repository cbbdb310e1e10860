"""A classifier folder in the format of ``train_classifier.py``, with seeded random weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from gconv_gan.models.classifiers.digits_classifier import DigitsClassifier

CLASSES = [str(digit) for digit in range(10)]


def save_judge(folder: Path) -> Path:
    torch.manual_seed(0)
    network = DigitsClassifier(num_classes=10, image_size=8, width=8)
    save_file(network.state_dict(), folder / "model.safetensors")
    description = {"network": "digits_classifier", "arguments": {"num_classes": 10, "image_size": 8, "width": 8}, "classes": CLASSES}
    (folder / "model.json").write_text(json.dumps({**description, "accuracy": 0.1}))
    return folder
