"""What configs/inference.json of a bundle is built from: parts that MONAI's tools put together.

They go through the same functions as `EnsemblePredictor`, so that `python -m monai.bundle run`,
MONAI Label and MONAI Deploy give the same segmentation, voxel for voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data.image_reader import ImageReader
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import Inferer
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray
from torch import Tensor, nn

from crossfold.config.base import nearest
from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_image
from crossfold.learning.checkpoints import load_checkpoint
from crossfold.learning.devices import prepare_process
from crossfold.learning.networks import heads_of, pad_to_network
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.member import make_predictor
from crossfold.prediction.subject import network_input, prediction_of, settings_of

SUFFIX = ".nii.gz"
AFFINE_TOLERANCE_MM = 1.0

Files = Sequence[str | PathLike] | str | PathLike


class EnsembleNetwork(nn.Module):
    """All members of a bundle as one network: the mean of their posteriors.

    Parameters
    ----------
    bundle_root
        Folder of the bundle.
    """

    def __init__(self, bundle_root: str) -> None:
        super().__init__()
        prepare_process(torch.get_num_threads())
        bundle = Bundle.read(bundle_root)
        loaded = [load_checkpoint(bundle.weights(fold)) for fold in bundle.folds]
        self.members = nn.ModuleList([network for network, _ in loaded])
        self.cards = [card for _, card in loaded]
        self.divisor = self.cards[0].divisor
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channel, x, y, z) to posteriors (batch, class, x, y, z)."""
        x, y, z = image.shape[2:]
        padded = pad_to_network(image, self.divisor)
        posteriors = [heads_of(member(padded))[0][1].softmax(dim=1) for member in self.members]
        return torch.stack(posteriors).mean(dim=0)[:, :, :x, :y, :z]


class EnsembleInferer(Inferer):
    """Every member of an ensemble on a whole image.

    Parameters
    ----------
    bundle_root
        Folder of the bundle.
    """

    def __init__(self, bundle_root: str) -> None:
        super().__init__()
        self._bundle = Bundle.read(bundle_root)

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: EnsembleNetwork, *_: Any, **__: Any
    ) -> Tensor:
        """Return (1, member x class, x, y, z): the posteriors of the members, one after the other.

        Parameters
        ----------
        inputs
            (1, channel, x, y, z), as `NetworkInputd` gives it.
        network
            The ensemble, on its device.
        """
        settings = settings_of(self._bundle, str(inputs.device))
        image = torch.as_tensor(inputs)[0].as_subclass(Tensor)
        posteriors = [
            make_predictor(member, card, settings)(image)
            for member, card in zip(network.members, network.cards, strict=True)
        ]
        return torch.cat(posteriors)[None]


class NiftiReader(ImageReader):
    """Reads NIfTI files as Crossfold does: float32 in the axes of the file, channels first."""

    def verify_suffix(self, filename: Files) -> bool:
        """Say whether all files are NIfTI by their names."""
        files = [filename] if isinstance(filename, str | PathLike) else filename
        return all(str(file).endswith((".nii", SUFFIX)) for file in files)

    def read(self, data: Files, **_: Any) -> list[Image]:
        """Read one file per channel."""
        files = [data] if isinstance(data, str | PathLike) else data
        return [read_image(file) for file in files]

    def get_data(self, img: list[Image]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return the array (channel, x, y, z) and its affine.

        Raises
        ------
        CrossfoldError
            If the channels are not on one grid, which MONAI needs of an image.
        """
        first = img[0]
        if any(image.array.shape != first.array.shape for image in img):
            raise CrossfoldError(
                f"channels of {', '.join(str(image.array.shape) for image in img)} voxels",
                remedy="resample them to one grid",
            )
        extent = [*first.array.shape, 1]
        for image in img[1:]:
            away_mm = (np.abs(image.affine - first.affine) * extent).sum(axis=1).max()
            if away_mm > AFFINE_TOLERANCE_MM:
                raise CrossfoldError(
                    f"channels lie up to {away_mm:.1f} mm apart", remedy="resample them to one grid"
                )
        about = {
            "affine": first.affine,
            "original_affine": first.affine,
            "spatial_shape": np.array(first.array.shape),
            "original_channel_dim": 0,
            "space": "RAS",
        }
        return np.stack([image.array for image in img]), about


class NetworkInputd(MapTransform):
    """From an image (channel, x, y, z) to what the network reads: grid and intensities.

    Parameters
    ----------
    keys
        The image, then the mask of a model that has one.
    bundle_root
        Folder of the bundle.
    """

    def __init__(self, keys: Sequence[str], bundle_root: str) -> None:
        super().__init__(keys)
        self._bundle = Bundle.read(bundle_root)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Replace the image; how to get back to its grid goes with it."""
        image, *mask = (_with_channels(data[key]) for key in self.keys)
        names = self._bundle.images
        if len(image) != len(names):
            raise CrossfoldError(
                f"{self._bundle.name} reads {len(names)} channels ({', '.join(names)}), not "
                f"{len(image)}",
                remedy="give one image for each channel",
            )
        channels = dict(zip(names, _as_images(image), strict=True))
        array, inside = network_input(self._bundle, channels, *(_as_images(m)[0] for m in mask))
        about = {
            "affine": torch.as_tensor(np.asarray(image.affine)),
            "source_shape": list(image.shape[1:]),
            "spatial_shape": list(image.shape[1:]),
            "filename_or_obj": image.meta.get("filename_or_obj", ""),
        }
        changed: dict[Any, Tensor] = {
            self.keys[0]: MetaTensor(torch.from_numpy(array).float(), meta=about)
        }
        if inside is not None:
            changed[self.keys[1]] = torch.from_numpy(inside)[None]
        return {**data, **changed}


class SegmentationD(MapTransform):
    """From the posteriors of the members to a segmentation on the grid of the image.

    Parameters
    ----------
    keys
        The prediction.
    image
        Key of what `NetworkInputd` gave.
    mask
        Key of the mask, of a model that has one.
    bundle_root
        Folder of the bundle.
    """

    def __init__(
        self, keys: Sequence[str], *, image: str, bundle_root: str, mask: str | None = None
    ) -> None:
        super().__init__(keys)
        self._image, self._mask = image, mask
        self._bundle = Bundle.read(bundle_root)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Replace the prediction by a label map (1, x, y, z)."""
        image = data[self._image]
        affine = np.asarray(image.affine, dtype=np.float64)
        empty = np.empty(tuple(int(size) for size in image.meta["source_shape"]), dtype=np.uint8)
        like = Image(empty, affine, nib.Nifti1Header())
        inside = data[self._mask][0].cpu().numpy().astype(bool) if self._mask else None
        changed: dict[str, Any] = {}
        for key in self.key_iterator(data):
            members = torch.as_tensor(data[key]).as_subclass(Tensor).cpu()
            n_members = len(members) // (len(self._bundle.structures) + 1)
            found = prediction_of(self._bundle, members.chunk(n_members), n_members, inside, like)
            labels = torch.from_numpy(found.segmentation[None])
            about = {**image.meta, "affine": torch.as_tensor(affine)}
            changed[key] = MetaTensor(labels, meta=about)
        return {**data, **changed}


def find_images(
    dataset_dir: str, images: Sequence[str], mask: str | None = None
) -> list[dict[str, Any]]:
    """List what is to be predicted, for a `Dataset` of MONAI.

    Parameters
    ----------
    dataset_dir
        Folder of NIfTI files, `<subject>_<channel>.nii.gz`; for a model of one channel and without
        a mask, other names will do.
    images, mask
        Channels of the model.

    Raises
    ------
    CrossfoldError
        If there is none, or a subject lacks a channel.
    """
    folder = Path(dataset_dir)
    files = sorted(folder.glob(f"*{SUFFIX}"))
    # The longest that fits: p1_ce_t1 is of ce_t1, not of t1.
    endings = sorted((f"_{name}{SUFFIX}" for name in (*images, mask) if name), key=len)[::-1]
    by_ending = {file: next(filter(file.name.endswith, endings), "") for file in files}
    first = f"_{images[0]}{SUFFIX}"
    subjects = [f.name.removesuffix(first) for f, ending in by_ending.items() if ending == first]
    if subjects or len(images) > 1 or mask:
        found = [_files_of(folder, subject, images, mask) for subject in subjects]
    else:
        found = [{"image": [str(file)]} for file in files]
    if not found:
        raise CrossfoldError(
            f"{folder.absolute()}: there is no image of the channel {images[0]}",
            remedy="name the folder of the images: --dataset_dir FOLDER",
        )
    return found


def _files_of(
    folder: Path, subject: str, images: Sequence[str], mask: str | None
) -> dict[str, Any]:
    names = [*images, *([mask] if mask else [])]
    files = [folder / f"{subject}_{name}{SUFFIX}" for name in names]
    for file in files:
        if not file.is_file():
            others = [other.name for other in folder.glob(f"{subject}_*")]
            raise CrossfoldError(f"{file}: no such file", remedy=nearest(file.name, others))
    paths = [str(file) for file in files]
    channels = {"image": paths[: len(images)]}
    return channels | ({"mask": paths[len(images) :]} if mask else {})


def _with_channels(tensor: Any) -> Any:
    """Return (channel, x, y, z), also of (x, y, z), which MONAI Deploy gives."""
    return tensor[None] if tensor.ndim == 3 else tensor


def _as_images(tensor: Any) -> list[Image]:
    """Return each channel of (channel, x, y, z) as an image."""
    affine = np.asarray(tensor.affine, dtype=np.float64)
    arrays = np.asarray(torch.as_tensor(tensor).as_subclass(Tensor).cpu(), dtype=np.float32)
    return [Image(array, affine, nib.Nifti1Header()) for array in arrays]
