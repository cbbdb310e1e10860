"""Draw images of an exported generator: ``python -m gconv_gan.sample FOLDER [--num 64] [--seed 0] [--class 3] [--out FILE.png]``."""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.sample import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
