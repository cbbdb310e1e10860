"""Compute the statistics of real images once, and exchange them with torch-fidelity and clean-fid.

python eval/reference_statistics.py cifar10 --split train
python eval/reference_statistics.py cifar10 --split train --extractor inception:clean --export clean_fid --name c10 --out .../cleanfid/stats
python eval/reference_statistics.py c10_clean_custom_na.npz --extractor inception:clean --num-real 50000
"""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.statistics import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
