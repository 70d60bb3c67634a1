"""What a bundle says of itself to MONAI's tools."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from crossfold.config.preprocessing import CtWindow, Unchanged, ZScore
from crossfold.learning.checkpoints import NetworkCard
from crossfold.prediction.bundle import FORMAT, Bundle

# Served by the MONAI project: github.com/Project-MONAI/project-monai.github.io, public/schema.
SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
VERSION = "1.0.0"
PARTS = "crossfold.prediction.monai_parts"
NOT_STATED = "not stated"


def metadata(bundle: Bundle, card: NetworkCard, requirements: Iterable[str]) -> dict[str, Any]:
    """Return metadata.json, as MONAI's schema wants it.

    Parameters
    ----------
    bundle
        The model.
    card
        Of its network.
    requirements
        Packages as `name==version`.
    """
    names = ", ".join(bundle.structures)
    classes = {"0": "background"} | {
        str(value): name for value, name in enumerate(bundle.structures, start=1)
    }
    packages = dict(line.partition("==")[::2] for line in requirements)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: f"{bundle.name}, epoch {bundle.epoch}"},
        "monai_version": version("monai"),
        "pytorch_version": packages.pop("torch"),
        "numpy_version": packages.pop("numpy"),
        "required_packages_version": {
            name: number for name, number in packages.items() if name != "monai"
        },
        "name": bundle.name,
        "task": f"Segmentation of {names}",
        "description": bundle.description or f"Segmentation of {names}",
        "authors": NOT_STATED,
        "copyright": NOT_STATED,
        "data_source": f"{bundle.dataset}, {bundle.n_subjects['training']} training subjects",
        "data_type": "nibabel",
        "image_classes": ", ".join(bundle.images),
        "label_classes": "; ".join(f"{value} is {name}" for value, name in classes.items()),
        "pred_classes": "posteriors of background and structures that add up to 1",
        "eval_metrics": _mean_dice(bundle),
        "intended_use": "Research. Not a medical device.",
        "references": [],
        "network_data_format": {
            "inputs": {"image": _input(bundle, card)},
            "outputs": {"pred": _output(card, classes, "labels", len(classes), "float32", 1)},
            "post_processed_outputs": {
                "pred": _output(card, classes, "segmentation", 1, "uint8", len(classes) - 1)
            },
        },
        "crossfold": {
            "format": FORMAT,
            "version": bundle.crossfold_version,
            "epoch": bundle.epoch,
            "folds": list(bundle.folds),
            "model": "configs/model.json",
        },
    }


def _input(bundle: Bundle, card: NetworkCard) -> dict[str, Any]:
    methods = [bundle.preprocessing.normalisation_of(channel) for channel in bundle.images]
    is_ct = all(isinstance(method, CtWindow) for method in methods)
    known = [m.output_range for m in methods if not isinstance(m, Unchanged | ZScore)]
    limits = [min(low for low, _ in known), max(high for _, high in known)] if known else []
    return {
        "type": "image",
        "format": "hounsfield" if is_ct else "magnitude",
        "modality": "CT" if is_ct else "n/a",
        "num_channels": len(bundle.images),
        "spatial_shape": list(card.patch_size),
        "dtype": "float32",
        "value_range": limits if len(known) == len(methods) else [],
        "is_patch_data": bundle.inference.window != "image",
        "channel_def": {str(i): name for i, name in enumerate(bundle.images)},
    }


def _output(
    card: NetworkCard,
    classes: dict[str, str],
    layout: str,
    num_channels: int,
    dtype: str,
    largest: int,
) -> dict[str, Any]:
    return {
        "type": "image",
        "format": layout,
        "modality": "n/a",
        "num_channels": num_channels,
        "spatial_shape": list(card.patch_size),
        "dtype": dtype,
        "value_range": [0, largest],
        "is_patch_data": layout == "labels",
        "channel_def": classes,
    }


def _mean_dice(bundle: Bundle) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in bundle.metrics:
        if row["metric"] == "dice" and row["mean"] is not None:
            split = "mean_dice_out_of_fold" if row["split"] == "val" else "mean_dice_test"
            found.setdefault(split, {})[row["structure"]] = row["mean"]
    return found


def inference(bundle: Bundle) -> dict[str, Any]:
    """Return inference.json: a workflow of MONAI, with the parts of Crossfold in it."""
    mask = bundle.preprocessing.mask
    keys = ["image", "mask"] if mask else ["image"]
    with_mask = {"mask": mask} if mask else {}
    root = {"bundle_root": "@bundle_root"}
    return {
        "imports": ["$import scripts", "$import torch", "$import numpy"],
        "bundle_root": "$scripts.ROOT",
        "dataset_dir": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{PARTS}.EnsembleNetwork", **root},
        "network": "$@network_def.to(@device)",
        "datalist": {
            "_target_": f"{PARTS}.find_images",
            "dataset_dir": "@dataset_dir",
            "images": list(bundle.images),
            **with_mask,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": keys,
                    "reader": {"_target_": f"{PARTS}.NiftiReader"},
                },
                {"_target_": f"{PARTS}.NetworkInputd", "keys": keys, **root},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": f"{PARTS}.EnsembleInferer", **root},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": f"{PARTS}.SegmentationD",
                    "keys": "pred",
                    "image": "image",
                    **({"mask": "mask"} if mask else {}),
                    **root,
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "segmentation",
                    "output_dtype": "$numpy.uint8",
                    "separate_folder": False,
                    "resample": False,
                },
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }
