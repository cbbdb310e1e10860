"""Print what every layer costs (parameters, MACs, time, memory) against the 3×3 convolution of its width, at three shapes.

python eval/layer_cost.py [--repeats 15] [--json OUT]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.layer_cost")
