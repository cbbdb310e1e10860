"""Train a GAN: ``accelerate launch train_gan.py CONFIG.toml [--key value …] [--dry-run]``. The same command again resumes."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.train.gan")
