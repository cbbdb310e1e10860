"""Print what every layer costs (parameters, MACs, time, memory) against the 3×3 convolution of its width, at three shapes.

python eval/layer_cost.py [--repeats 15] [--json OUT]
"""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.layer_cost import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
