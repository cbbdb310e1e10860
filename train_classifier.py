"""Train a classifier: ``accelerate launch train_classifier.py CONFIG.toml [--key value …] [--dry-run]``."""

import sys

from gconv_gan.recipes.classifier import main
from gconv_gan.recipes.entry_point import run_script

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
