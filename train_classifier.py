"""Train a classifier: ``accelerate launch train_classifier.py CONFIG.toml [--key value …] [--dry-run]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.train.classifier")
