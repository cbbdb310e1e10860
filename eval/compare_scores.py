"""Print scores side by side; scores whose cards differ in more than the generator are refused, or marked with --mark.

    python eval/compare_scores.py runs/A runs/B [--protocol fid50k_train]
    python eval/compare_scores.py a.json b.json --mark

Changes are relative to the first source.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.compare_scores")
