"""Compute the statistics of real images once, and exchange them with torch-fidelity and clean-fid.

python eval/reference_statistics.py cifar10 --split train
python eval/reference_statistics.py cifar10 --split train --extractor inception:clean --export clean_fid --name c10 --out .../cleanfid/stats
python eval/reference_statistics.py c10_clean_custom_na.npz --extractor inception:clean --num-real 50000
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.statistics")
