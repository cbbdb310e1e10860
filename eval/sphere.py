"""Train a scale-invariant classifier on the sphere at several effective learning rates, and tell the regime of each run.

    python eval/sphere.py configs/methods/sphere_cifar10.toml [--seeds 0 1 2] [--effective-learning-rates 1e-4 1e-2 1]
    python eval/sphere.py configs/methods/sphere_cifar10.toml --table   # of the stored result; draws its picture again

Prints final loss, effective gradient norm, test accuracy and regime (convergence, chaotic equilibrium, divergence) of each effective
learning rate; writes eval/results/NAME.json and the phase plot NAME.png. Finished runs are not trained again.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.sphere")
