"""Print how many times longer the plain formulation of SNGAN's iteration takes than this package's.

OMP_NUM_THREADS=1 python eval/speed/plain_formulation.py [--generator-width 256 --discriminator-width 128 --batch-size 16 --pairs 5]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.plain_formulation")
