"""Make a run into a folder that needs no run: ``python -m gconv_gan.export RUN [--out FOLDER] [--checkpoint IMAGES] [--no-onnx]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.export")
