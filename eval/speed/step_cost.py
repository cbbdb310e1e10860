"""Print what an iteration of a GAN run costs here: processor time, and operations by the file of the package.

OMP_NUM_THREADS=1 python eval/speed/step_cost.py configs/gan/cifar10_small.toml [--generator.conv.kind gconv …]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.step_cost")
