"""Time every convolution of a generator, and what it is rewritten from: ``python eval/conv_cost.py [--channels 128] [--seconds 60]``."""

import sys

from gconv_gan.recipes.conv_cost import main
from gconv_gan.recipes.entry_point import run_script

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
