"""Train the same small network with a layer swapped (paired seeds, equal budget) and test the published claim.

    python eval/compare_layers.py ghost [--seeds 3] [--images 60000] [--data-path data/cifar10.zip]
    python eval/compare_layers.py --table   # of the stored results; draws their plots again

Prints accuracy mean ± sd, the paired difference with a one-sided t-test and a bootstrap interval, parameters, MACs, step time and
memory; writes eval/results/layers_NAME.json and a plot. Finished arms are not trained again.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.compare_layers")
