"""Test a trained classifier: accuracy, calibration, robustness to noise and attacks, latency, memory, parameters, MACs, in one card.

python eval/classifier.py runs/NAME [--fgsm 1 2 4 8] [--pgd 8] [--gaussian 0.05 0.1] [--json OUT]
"""

import sys

from gconv_gan.recipes.classifier_card import main
from gconv_gan.recipes.entry_point import run_script

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
