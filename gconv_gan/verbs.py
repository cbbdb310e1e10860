"""The verbs of the console script: which command each starts, and what it is for."""

from dataclasses import dataclass

CONSOLE_SCRIPT = "gconv-gan"
"""Name of the installed command."""


@dataclass(frozen=True)
class Verb:
    """A verb of ``gconv-gan``: module and class of the command's options, the arguments without flags, one line of help."""

    module: str
    options: str
    arguments: str
    summary: str


VERBS = {
    "train": Verb("gconv_gan.commands.train.gan", "GANRunConfig", "CONFIG", "Train a GAN; the same command again resumes."),
    "classify": Verb("gconv_gan.commands.train.classifier", "ClassifierRunConfig", "CONFIG", "Train a classifier from the same layers."),
    "prepare": Verb("gconv_gan.data.prepare", "", "KIND", "Download and convert a data set, and say what is in it."),
    "score": Verb("gconv_gan.commands.score.scores", "ScoreCommand", "SOURCE", "Score a run or pictures against real images."),
    "test": Verb(
        "gconv_gan.commands.score.classifier_card", "ClassifierCardCommand", "RUN", "Test a classifier: accuracy, robustness, cost."
    ),
    "curve": Verb("gconv_gan.commands.score.score_curve", "CurveCommand", "RUN", "Score every checkpoint of a run, mark the best."),
    "compare": Verb(
        "gconv_gan.commands.score.compare_scores", "CompareCommand", "A B [C ...]", "Scores side by side, where they are comparable."
    ),
    "memorisation": Verb(
        "gconv_gan.commands.score.memorisation", "MemorisationCommand", "SOURCE", "Are images copies of the training images?"
    ),
    "doctor": Verb("gconv_gan.commands.doctor", "DoctorCommand", "RUN", "Say what a run suffers from, with number, threshold and advice."),
    "gallery": Verb(
        "gconv_gan.commands.gallery", "GalleryCommand", "RUN [RUN ...]", "Draw the page of a run, of runs side by side, or of an ablation."
    ),
    "sample": Verb("gconv_gan.commands.sample", "SampleCommand", "RUN|FOLDER", "Draw images of a trained generator as files."),
    "export": Verb("gconv_gan.commands.export", "ExportCommand", "RUN", "Write a generator with model card and ONNX as one folder."),
    "ablate": Verb("gconv_gan.commands.ablate", "AblateCommand", "CONFIG", "Train arms on paired seeds and test their differences."),
    "runs": Verb(
        "gconv_gan.commands.runs", "RunsCommand", "[FOLDER]", "List runs with state, progress and best score, or compare configs."
    ),
    "layers": Verb("gconv_gan.models.summary", "SummaryCommand", "[NAME]", "Parameters and multiply-adds of a named network."),
}
