"""Print bounds of the operator norm of every layer of a trained discriminator: ``python eval/lipschitz.py RUN [IMAGES|best]``."""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.lipschitz import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
