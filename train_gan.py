"""Train a GAN: ``accelerate launch train_gan.py CONFIG.toml [--key value …] [--dry-run]``. The same command again resumes."""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.gan import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
