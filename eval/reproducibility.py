"""Kill runs at random moments and compare: ``python eval/reproducibility.py configs/gan/digits_gconv.toml [--kills 10]``."""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.reproducibility import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
