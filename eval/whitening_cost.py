"""Time the whitening layers against their definitions: ``python eval/whitening_cost.py [--channels 128] [--side 16] [--seconds 60]``."""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.whitening_cost import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
