"""Curvature, batch size and learning rates in small experiments: ``python eval/curvature_claims.py synthetic``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.curvature_claims")
