"""Plant redundant channels in a trained classifier, and see whether gradient-matrix pruning, a reconstruction, finds and removes them.

python eval/planted_redundancy.py RUN [RUN …] [--batches 60] [--json OUT]
python eval/planted_redundancy.py configs/methods/planted_redundancy_cifar10.toml --seeds 5    # trains the runs that are missing
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.planted_redundancy")
