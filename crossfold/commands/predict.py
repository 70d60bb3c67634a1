"""`crossfold predict`: segment images with a model of the registry, or of this folder."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUTPUT = "predictions/{model}"
_SNAKEFILE = Path("azureml/predict.smk")


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("predict", help="segment images with a trained ensemble")
    add_inputs(parser)
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"default: {OUTPUT.format(model='<Model>')}"
    )
    parser.add_argument(
        "--folds", type=_folds, metavar="A,B", help="members to use (all): 0,2 for instance"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument(
        "--memory", type=_positive, metavar="GB", help="most memory to take (as much as it needs)"
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="of the processor (all cores)")
    parser.add_argument(
        "--posteriors",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write the posteriors, the largest files",
    )
    parser.add_argument(
        "--accept",
        type=_words,
        default=[],
        metavar="A,B",
        help="checks whose errors are accepted, such as intensity",
    )
    parser.add_argument(
        "--azureml", action="store_true", help="on the cluster of the profile, in one job"
    )
    parser.add_argument(
        "--profile",
        type=Path,
        default=Path("azureml"),
        metavar="FOLDER",
        help="Snakemake profile of --azureml (azureml)",
    )
    parser.set_defaults(run=_predict)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model and which images are meant."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="Prostate:3, Prostate (the current version), or a folder: results/Prostate/model",
    )
    parser.add_argument(
        "--registry", type=Path, metavar="FOLDER", help="of models, instead of config.yaml's"
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="laid over config.yaml, to say where the registry is",
    )
    parser.add_argument(
        "--image",
        dest="images",
        action="append",
        required=True,
        metavar="[CHANNEL=]PATH",
        help="an image; for several channels, once for each; a DICOM series, a folder of images, "
        "a dataset.csv, or a dataset under data/",
    )
    parser.add_argument("--mask", metavar="PATH", help="for a model with preprocessing.mask")
    parser.add_argument(
        "--within",
        type=Path,
        metavar="FOLDER",
        help="read nothing outside of it (for a dataset.csv: outside of its folder)",
    )


def _predict(parsed: argparse.Namespace) -> int:
    from crossfold.errors import CrossfoldError
    from crossfold.paper.overlay import draw_overlay
    from crossfold.prediction.bundle import Bundle
    from crossfold.prediction.inputs import find_subjects
    from crossfold.prediction.memory import peak_memory_gb
    from crossfold.prediction.predicting import Options
    from crossfold.prediction.records import report
    from crossfold.prediction.sending import Request, predict_there
    from crossfold.registry.references import locate

    _require_acceptable(parsed.accept)
    located = locate(
        parsed.model,
        registry=parsed.registry,
        configfiles=parsed.configfile,
        profile=parsed.profile,
    )
    bundle, version = Bundle.read(located.path), located.registered
    registered = {"name": version.name, "version": version.version} if version else None
    mask = bundle.preprocessing.mask
    if parsed.mask and not mask:
        raise CrossfoldError(
            f"--mask: {bundle.name} has no preprocessing.mask", remedy="leave it out"
        )
    images = parsed.images + ([f"{mask}={parsed.mask}"] if parsed.mask else [])
    subjects = find_subjects(images, bundle.images, mask=mask, within=parsed.within)
    output = parsed.output or Path(OUTPUT.format(model=bundle.name))
    options = Options(
        folds=parsed.folds,
        device=parsed.device,
        memory_gb=parsed.memory,
        threads=parsed.threads,
        posteriors=parsed.posteriors,
        accepted=parsed.accept,
    )
    request = Request(
        bundle=bundle.path,
        subjects=subjects,
        options=options,
        reference=parsed.model,
        registered=registered,
    )
    peak_gb = None
    try:
        if parsed.azureml:
            submit = _submission(parsed.profile)
            summary = predict_there(request, output, submit=submit, draw=draw_overlay)
        else:
            summary = request.prediction(bundle, output, draw=draw_overlay).run(subjects)
            peak_gb = peak_memory_gb()
    except KeyboardInterrupt:
        print(
            f"Interrupted; what is whole stays in {output}, the same command does the rest.",
            file=sys.stderr,
        )
        raise
    print(report(summary, output, peak_gb))
    return int((summary["state"] == "refused").any())


def _require_acceptable(checks: list[str]) -> None:
    from crossfold.config.base import nearest
    from crossfold.errors import CrossfoldError
    from crossfold.prediction.checks import ACCEPTABLE

    for check in checks:
        if check not in ACCEPTABLE:
            raise CrossfoldError(
                f"--accept {check}: there is no such check that can be accepted",
                remedy=nearest(check, ACCEPTABLE),
            )


def _submission(profile: Path) -> Callable[[Path], None]:
    """Return what runs a job where a profile says."""
    from crossfold.errors import CrossfoldError
    from crossfold.workflow.running import submit

    for needed in (_SNAKEFILE, profile / "profile.yaml"):
        if not needed.is_file():
            raise CrossfoldError(
                f"--azureml: there is no {needed} here",
                remedy="give the command in the folder of Crossfold, where jobs are sent from",
            )

    def run(sent: Path) -> None:
        submit("predict_images", snakefile=_SNAKEFILE, profile=profile, settings=[f"sent={sent}"])

    return run


def _folds(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` names no folds; write 0,2") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is no number of threads; write 1 or more")
    return int(text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"`{text}` is no amount of memory in GB; write 4")
    return number
