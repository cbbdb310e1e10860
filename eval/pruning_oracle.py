"""Compare pruning criteria with what removing each channel really costs a trained classifier.

python eval/pruning_oracle.py RUN [RUN …] [--batches 10] [--json OUT] [--png OUT]
python eval/pruning_oracle.py configs/methods/vgg3_cifar10_small.toml --seeds 3    # trains the runs that are missing
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.pruning_oracle")
