from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

from crossfold.errors import CrossfoldError
from crossfold.images import Image
from crossfold.prediction.monai_parts import EnsembleNetwork, NiftiReader, find_images
from tests.small_run import SUBJECTS, SmallRun, small_run

# What MONAI's schema of metadata.json requires: project-monai.github.io, public/schema,
# meta_schema_20240725.json.
REQUIRED = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
TENSOR = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run(tmp_path_factory.mktemp("run"), images=["ct", "pet"])


@pytest.fixture(scope="module")
def path(run: SmallRun) -> Path:
    return run.bundle()


@pytest.fixture
def inside(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in the folder of the bundle, which is how MONAI's tools find its parts."""
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "path", [str(path), *sys.path])
    monkeypatch.delitem(sys.modules, "scripts", raising=False)
    yield
    sys.modules.pop("scripts", None)


def files_of(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


def assert_types(content: dict[str, Any], types: dict[str, type]) -> None:
    assert {key: type(content.get(key)) for key in types} == types


def test_the_same_files_give_the_same_bytes(run: SmallRun, path: Path) -> None:
    assert files_of(run.bundle("again")) == files_of(path)


def test_checkpoints_are_copied_as_they_are(run: SmallRun, path: Path) -> None:
    for fold, checkpoint in run.sources.checkpoints.items():
        copy = path / f"models/fold_{fold}.safetensors"
        assert copy.read_bytes() == checkpoint.read_bytes()


def test_it_names_no_patient_and_no_folder_of_this_machine(run: SmallRun, path: Path) -> None:
    private = [*(f'"{name}"' for name in SUBJECTS), str(run.folder), str(Path.home())]
    for name, content in files_of(path).items():
        assert not [word for word in private if word.encode() in content], name


def test_a_damaged_checkpoint_leaves_no_bundle(run: SmallRun, tmp_path: Path) -> None:
    other = small_run(tmp_path)
    (tmp_path / "1.safetensors").write_bytes(b"?")
    with pytest.raises(CrossfoldError, match="not a checkpoint"):
        other.bundle()
    assert not [*tmp_path.glob("*model*")]


def test_metadata_have_what_the_schema_of_monai_requires(path: Path) -> None:
    metadata = json.loads((path / "configs/metadata.json").read_text("utf-8"))
    assert_types(metadata, REQUIRED)
    for kind in ("inputs", "outputs", "post_processed_outputs"):
        for tensor in metadata["network_data_format"][kind].values():
            assert_types(tensor, TENSOR)
    assert metadata["version"] in metadata["changelog"]
    inputs = metadata["network_data_format"]["inputs"]["image"]
    assert inputs["channel_def"] == {"0": "ct", "1": "pet"}
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "background", "1": "left", "2": "right"}


@pytest.mark.usefixtures("inside")
def test_monai_finds_all_properties_of_an_inference() -> None:
    workflow = ConfigWorkflow(
        "configs/inference.json", workflow_type="infer", logging_file=False, dataset_dir=".."
    )
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.usefixtures("inside")
def test_the_network_is_what_the_metadata_say() -> None:
    verify_net_in_out(
        "network_def", meta_file="configs/metadata.json", config_file="configs/inference.json"
    )


def test_the_weights_for_monai_are_those_of_the_members(path: Path) -> None:
    network = EnsembleNetwork(str(path))
    state = torch.load(path / "models/model.pt", weights_only=True)
    assert {*state} == {*network.state_dict()}
    network.load_state_dict(state, strict=True)
    posterior = network(torch.rand(1, 2, 9, 10, 7))
    assert posterior.shape == (1, 3, 9, 10, 7)
    torch.testing.assert_close(posterior.sum(dim=1), torch.ones(1, 9, 10, 7))


def test_the_model_card_has_metrics_with_intervals_and_how_to_run(path: Path) -> None:
    card = (path / "docs/README.md").read_text("utf-8")
    assert (
        "| left | out of fold | 12 | 0 | 0.812 (0.750 to 0.870) | 0.900 (0.850 to 0.950) | – |"
        in card
    )
    assert "| left | ensemble, test set | 1 | 1 | – | – | ∞ |" in card
    assert "--image ct=ct.nii.gz --image pet=pet.nii.gz --output" in card
    assert "Intensities of pet: " in card
    assert "with a 95 % confidence interval" in card
    assert "within a tolerance of each other: 1 mm." in card


def test_requirements_are_exact_and_have_no_build_of_a_machine(path: Path) -> None:
    lines = (path / "requirements.txt").read_text("utf-8").split()
    names = {line.partition("==")[0] for line in lines}
    assert {"torch", "monai", "numpy", "scipy", "nibabel", "pydantic", "fire"} <= names
    assert not [name for name in names if name.startswith(("nvidia-cu", "cuda-", "triton"))]
    assert all("==" in line and "+" not in line for line in lines)


def test_images_are_found_by_the_names_of_their_channels(tmp_path: Path) -> None:
    for name in ("a_ct", "a_pet", "b_ct"):
        (tmp_path / f"{name}.nii.gz").touch()
    assert [Path(one["image"][0]).name for one in find_images(str(tmp_path), ["ct"])] == [
        "a_ct.nii.gz",
        "b_ct.nii.gz",
    ]
    with pytest.raises(CrossfoldError, match=r"b_pet\.nii\.gz: no such file"):
        find_images(str(tmp_path), ["ct", "pet"])
    assert len(find_images(str(tmp_path), ["other"])) == 3
    with pytest.raises(CrossfoldError, match="there is no image"):
        find_images(str(tmp_path / "empty"), ["ct"])


def test_a_channel_whose_name_ends_another_is_not_that(tmp_path: Path) -> None:
    for name in ("p1_t1", "p1_ce_t1"):
        (tmp_path / f"{name}.nii.gz").touch()
    (found,) = find_images(str(tmp_path), ["t1", "ce_t1"])
    assert [Path(file).name for file in found["image"]] == ["p1_t1.nii.gz", "p1_ce_t1.nii.gz"]


def test_channels_that_are_mirrored_to_each_other_are_refused() -> None:
    array = np.zeros((4, 5, 6), dtype=np.float32)
    images = [Image(array, np.diag([x, 1, 1, 1.0]), nib.Nifti1Header()) for x in (1.0, -1.0)]
    with pytest.raises(CrossfoldError, match=r"up to 8\.0 mm apart"):
        NiftiReader().get_data(images)
    assert NiftiReader().get_data(images[:1] * 2)[0].shape == (2, 4, 5, 6)


def test_the_configuration_can_be_read_without_the_code(path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(path / "configs/inference.json")
    assert parser["dataset"]["transform"] == "@preprocessing"
