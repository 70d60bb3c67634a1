"""The section `datasets` of config.yaml: where images and contours come from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from crossfold.config.base import Section
from crossfold.errors import CrossfoldError
from crossfold.paths import DATASET

_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


SubjectPattern = Annotated[str, StringConstraints(pattern=r"\{subject\}")]


class _DatasetSection(Section):
    """What every dataset may say about itself."""

    description: str | None = None
    """What the images show, in one sentence, for reports."""
    licence: str | None = None
    """Licence and source of the images, for reports."""


class _ExistingDataset(_DatasetSection):
    """A dataset that lies in a folder already."""

    synthetic: ClassVar[bool] = False

    path: str = Field(min_length=1)
    """Folder of the source; `$VARIABLE` and `~` are expanded when it is read."""
    link: bool = False
    """Make symbolic links to the source's files instead of copies (for large data)."""


class PhantomDataset(_DatasetSection):
    """Synthetic images, drawn from a seed."""

    synthetic: ClassVar[bool] = True

    source: Literal["phantom"]
    """Computed here, nothing is downloaded."""
    subjects: int = Field(ge=1)
    """Number of subjects to draw."""
    seed: int = 0
    """Seed of the random draw."""


class DecathlonDataset(_ExistingDataset):
    """A task of the Medical Segmentation Decathlon."""

    source: Literal["decathlon"]
    """A folder with dataset.json, imagesTr and labelsTr; 3-D or 4-D images."""


class NnunetDataset(_ExistingDataset):
    """A raw dataset of nnU-Net version 2."""

    source: Literal["nnunet"]
    """A folder DatasetXXX_Name with dataset.json, imagesTr/<case>_0000.nii.gz and labelsTr."""


class InnereyeDataset(_ExistingDataset):
    """A dataset of InnerEye-DeepLearning."""

    source: Literal["innereye"]
    """A folder with dataset.csv; one binary mask per structure."""


class FolderLabels(Section):
    """Label maps that hold several structures."""

    pattern: SubjectPattern
    """Path of the label map below `path`, such as `labels/{subject}.nii.gz`."""
    values: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    """Value of each structure in the map; 0 is background."""


class FolderDataset(_ExistingDataset):
    """Any folder whose file names hold the subject."""

    source: Literal["folder"]
    """Files found by patterns with `{subject}`; `*`, `?` and `**/` match as in a shell."""
    images: dict[str, SubjectPattern] = Field(min_length=1)
    """Path pattern of each image channel below `path`, such as `images/{subject}_ct.nii.gz`."""
    structures: dict[str, SubjectPattern] = {}
    """Path pattern of each structure's binary mask below `path`."""
    labels: FolderLabels | None = None
    """Label maps that hold several structures, instead of or beside `structures`."""
    metadata: str | None = None
    """CSV file below `path` with the column subject, and institutionId, group, … to merge in."""

    @model_validator(mode="after")
    def _each_channel_once(self) -> FolderDataset:
        label_values = self.labels.values if self.labels else {}
        seen: set[str] = set()
        for channel in [*self.images, *self.structures, *label_values]:
            if channel in seen:
                raise ValueError(f"the channel `{channel}` is defined twice; rename one of them")
            seen.add(channel)
        return self


class DicomDataset(_DatasetSection):
    """Series of CT, MR or PET slices with contours; needs the extra `dicom`."""

    synthetic: ClassVar[bool] = False

    source: Literal["dicom"]
    """DICOM files in any folders, with RT-STRUCT or DICOM-SEG files drawn on the series."""
    path: str = Field(min_length=1)
    """Folder of the source; `$VARIABLE` and `~` are expanded when it is read."""
    images: dict[str, str] = Field(min_length=1)
    """Modality or series description of each image channel; `*` and `?` match as in a shell."""
    structures: dict[str, Annotated[list[str], BeforeValidator(_as_list)]] = Field(min_length=1)
    """Names that each structure may have in the files, patterns as well; the first found counts."""
    subjects: Literal["folder", "patient_id", "pseudonym"] = "folder"
    """Its folder below `path`, its PatientID, or a hash of that made with `pseudonym_key`."""
    pseudonym_key: str | None = None
    """Secret that pseudonyms are made with, as `$VARIABLE`."""
    on_problem: Literal["stop", "exclude"] = "stop"
    """Stop when a series cannot be imported, or leave it out and say so in the log."""

    @model_validator(mode="after")
    def _pseudonyms_need_a_key(self) -> DicomDataset:
        if self.subjects == "pseudonym" and not _VARIABLE.fullmatch(self.pseudonym_key or ""):
            raise ValueError(
                "`subjects: pseudonym` needs `pseudonym_key: $VARIABLE`; the secret itself must "
                "not stand in a file that is published"
            )
        if both := set(self.images) & set(self.structures):
            raise ValueError(f"`{min(both)}` is an image and a structure; rename one of them")
        return self


class DvcDataset(_DatasetSection):
    """A dataset that a git repository tracks with DVC, at one revision."""

    source: Literal["dvc"]
    """A folder with dataset.csv and images, as `make track` commits them."""
    path: str = Field(min_length=1)
    """The dataset's folder in that repository, such as `data/prostate`."""
    url: str | None = None
    """Address or folder of the repository, `$VARIABLE` and `~` expanded; `null`: this one."""
    rev: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit; `null`: the last commit of its main branch, or of this checkout."""
    synthetic: bool = False
    """Whether the images were computed, so that tables and figures say so."""


DatasetConfig = Annotated[
    PhantomDataset
    | DecathlonDataset
    | NnunetDataset
    | InnereyeDataset
    | FolderDataset
    | DicomDataset
    | DvcDataset,
    Field(discriminator="source"),
]


def _part_of_a_name(revision: Any) -> Any:
    if isinstance(revision, int | float):
        raise ValueError(f'{revision} is a number; put it in quotes: rev: "{revision}"')
    if isinstance(revision, str) and not _REVISION.fullmatch(revision):
        raise ValueError(
            f"`{revision}` cannot be part of a folder's name; name the commit, or a tag of "
            "letters, digits, `.`, `_` and `-`"
        )
    return revision


class DatasetRevision(Section):
    """A dataset as a revision of its repository has it."""

    name: str
    """Name of a dataset under `datasets:`, tracked with `make track`."""
    rev: Annotated[str, BeforeValidator(_part_of_a_name)]
    """Tag, commit or branch of this repository, or of the other one of a `dvc` dataset."""

    def __str__(self) -> str:
        """Name of the dataset's folder: what is imported from a revision stands beside the rest."""
        return f"{self.name}@{self.rev}"

    def section(self, dataset: DatasetConfig) -> DvcDataset:
        """Return where the revision comes from, given the section of the dataset itself."""
        if isinstance(dataset, DvcDataset):
            return dataset.model_copy(update={"rev": self.rev})
        return DvcDataset(
            source="dvc",
            path=str(Path(DATASET.format(dataset=self.name)).parent),
            rev=self.rev,
            synthetic=dataset.synthetic,
            description=dataset.description,
            licence=dataset.licence,
        )


def expand_path(text: str, dataset: str) -> Path:
    """Expand variables in the path of a dataset: see `expand_variables`."""
    return expand_variables(text, f"datasets.{dataset}.path")


def expand_variables(text: str, key: str) -> Path:
    """Expand `$VARIABLE`, `${VARIABLE}` and `~` in a path.

    Parameters
    ----------
    text
        Path as written in config.yaml.
    key
        Where it is written, for the message.

    Raises
    ------
    CrossfoldError
        If a variable is unset or empty.
    """
    check_variables(text, key)
    return Path(os.path.expandvars(text)).expanduser()


def check_variables(text: str, key: str) -> None:
    """Refuse a text that names an environment variable that is not there; see `expand_variables`.

    Raises
    ------
    CrossfoldError
        If a variable is unset or empty.
    """
    for braced, bare in _VARIABLE.findall(text):
        variable = braced or bare
        if not os.environ.get(variable):
            raise CrossfoldError(
                f"config.yaml: {key} is `{text}`, but the environment variable "
                f"{variable} is not set",
                remedy=f"export {variable}=/folder/that/holds/the/data",
            )
