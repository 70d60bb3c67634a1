"""`training.augmentation:` of a model: random changes to training crops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    Tag,
)

from crossfold.config.base import Section, importable, nearest, rising

Axis = Literal["x", "y", "z"]
Fraction = Annotated[float, Field(ge=0, le=1)]
PerAxis = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
Pairs = tuple[tuple[str, str], ...]
Spread = Literal["normal", "uniform"]


class AugmentationConfig(Section):
    """Random changes to each training crop; standard deviations unless said otherwise.

    These keys are a shorthand for a list of transforms.
    """

    mirror_axes: tuple[Axis, ...] = ()
    """Axes along which a crop is mirrored at random, where anatomy allows it."""
    mirror_pairs: Pairs = ()
    """Structures that change names when mirrored along x, such as [femur_l, femur_r]."""
    affine_probability: Fraction = 0.5
    """Share of the crops that are rotated, scaled and deformed."""
    rotation_deg: PerAxis = (7.0, 7.0, 7.0)
    """Rotation about x, y, z in degrees."""
    scaling: NonNegativeFloat = 0.1
    """Logarithm of the scale, common to all axes that are not kept."""
    aspect: NonNegativeFloat = 0.0
    """Logarithm of the scale of x, and of 1 / scale of y."""
    elastic_mm: NonNegativeFloat = 0.0
    """In-plane elastic displacement in mm, of half of the crops that are deformed."""
    gain: Fraction = 0.15
    """Half width of the uniform factor around 1 on intensities."""
    offset: NonNegativeFloat = 0.1
    """Half width of the uniform shift of intensities, after normalisation."""
    gamma: NonNegativeFloat = 0.0
    """Logarithm of the exponent on intensities scaled to [0, 1], for half of the crops."""
    bias_field: NonNegativeFloat = 0.0
    """Smooth additive in-plane field on intensities, for half of the crops."""
    noise: NonNegativeFloat = 0.0
    """Largest standard deviation of white noise, for 30 % of the crops."""


class Mirror(Section):
    """Mirror images and labels."""

    method: Literal["mirror"]
    """Exchange the two sides of a crop."""
    probability: Fraction = 0.5
    """Of each axis, for itself."""
    axes: tuple[Axis, ...] = ("x",)
    """Axes along which a crop may be mirrored, where anatomy allows it."""
    pairs: Pairs = ()
    """Structures that change names when mirrored along x, such as [femur_l, femur_r]."""


class Affine(Section):
    """Rotate and scale about the centre of the crop.

    It shares one interpolation with each `affine` and `elastic` that follows it at once; where
    several fall on a crop, matrices are multiplied and displacements added.
    """

    method: Literal["affine"]
    """Images are interpolated linearly; so is each structure, of which the strongest wins."""
    probability: Fraction = 0.5
    """Share of the crops."""
    rotation_deg: PerAxis = (7.0, 7.0, 7.0)
    """Rotation about x, y, z in degrees."""
    scaling: NonNegativeFloat = 0.1
    """Logarithm of the scale, common to all axes that are not kept."""
    aspect: NonNegativeFloat = 0.0
    """Logarithm of the scale of x, and of 1 / scale of y."""
    distribution: Spread = "normal"
    """normal: these numbers are standard deviations; uniform: largest values on both sides of 0."""
    in_plane: bool | None = None
    """Whether slices stay slices, neither mixed nor scaled along z; null: where no crop is rotated
    about x or y."""

    @property
    def keeps_slices(self) -> bool:
        """Say whether slices stay slices."""
        if self.in_plane is None:
            return self.rotation_deg[:2] == (0, 0)
        return self.in_plane


class Elastic(Section):
    """Bend by a smooth displacement; shares its interpolation with neighbouring `affine`."""

    method: Literal["elastic"]
    """Displacements of control points, with cubic interpolation between them."""
    probability: Fraction = 0.25
    """Share of the crops."""
    displacement_mm: NonNegativeFloat = 4.0
    """Standard deviation of the displacement of a control point along each axis."""
    points: Annotated[int, Field(ge=3)] = 5
    """Control points per axis of the crop."""
    in_plane: bool = True
    """Whether slices stay slices, and are all bent alike."""

    @property
    def keeps_slices(self) -> bool:
        """Say whether slices stay slices."""
        return self.in_plane


class BiasField(Section):
    """Add a smooth in-plane field to intensities, as the coils of an MR scanner do."""

    method: Literal["bias_field"]
    """Values at control points, with cubic interpolation between them."""
    probability: Fraction = 0.5
    """Share of the crops."""
    deviation: NonNegativeFloat = 0.15
    """Standard deviation at a control point, after normalisation."""
    points: Annotated[int, Field(ge=3)] = 3
    """Control points along x and y."""


class Gamma(Section):
    """Raise intensities, scaled to [0, 1] within the crop and channel, to a power."""

    method: Literal["gamma"]
    """Dark and bright parts gain contrast at each other's cost."""
    probability: Fraction = 0.5
    """Share of the crops."""
    gamma: NonNegativeFloat = 0.25
    """Logarithm of the exponent."""
    distribution: Spread = "normal"
    """normal: `gamma` is a standard deviation; uniform: the largest value, on both sides of 0."""
    inverted: bool = False
    """Do it to the negative image."""
    keep_statistics: bool = False
    """Restore mean and standard deviation of each channel."""


class Intensity(Section):
    """Scale and shift intensities."""

    method: Literal["intensity"]
    """Intensities become gain times intensity plus offset."""
    probability: Fraction = 1.0
    """Share of the crops."""
    gain: Fraction = 0.15
    """Half width of the uniform factor around 1."""
    offset: NonNegativeFloat = 0.1
    """Half width of the uniform shift, after normalisation."""
    around: Literal["zero", "mean"] = "zero"
    """What the factor leaves as it is: 0, or the mean of each channel, which changes contrast."""
    keep_range: bool = False
    """Limit each channel to the range that it had."""


class Noise(Section):
    """Add white noise."""

    method: Literal["noise"]
    """Normally distributed, independent for every voxel and channel."""
    probability: Fraction = 0.3
    """Share of the crops."""
    deviation: NonNegativeFloat = 0.2
    """Largest standard deviation; it is drawn uniformly between 0 and this."""


class Blur(Section):
    """Smooth the image with a Gaussian."""

    method: Literal["blur"]
    """Beyond the crop, its border is repeated."""
    probability: Fraction = 0.2
    """Share of the crops."""
    sigma_voxels: Annotated[tuple[PositiveFloat, PositiveFloat], rising(strictly=False)] = (0.5, 1)
    """Range from which the standard deviation is drawn for each axis."""
    axes: tuple[Axis, ...] = ("x", "y", "z")
    """Axes along which to smooth."""


class LowResolution(Section):
    """Show the image as if it had been acquired with larger voxels; labels stay as they are."""

    method: Literal["low_resolution"]
    """The nearest voxels of a coarser grid, interpolated linearly."""
    probability: Fraction = 0.25
    """Share of the crops."""
    zoom: Annotated[
        tuple[
            Annotated[float, Field(gt=0, le=1)],
            Annotated[float, Field(gt=0, le=1)],
        ],
        rising(strictly=False),
    ] = (0.5, 1)
    """Range from which the share of the voxels per axis is drawn."""
    axes: tuple[Axis, ...] = ("x", "y", "z")
    """Axes that become coarser, all by the same share."""


class ImportedTransform(BaseModel):
    """A transform of your own by import path, and the arguments of its constructor.

    `structures`, a list of names, and `spacing_mm` are filled in where the constructor takes them.
    """

    model_config = ConfigDict(
        extra="allow", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True
    )

    target: Annotated[str, AfterValidator(importable)] = Field(alias="_target_")
    """Import path of a class with `draw(random, count)` and `apply(images, labels, drawn,
    generator)`, such as my_lab.transforms.Ghosting; the other keys are the arguments of its
    constructor."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self.__pydantic_extra__ or {})


Deformation = Affine | Elastic
BuiltIn = Deformation | Mirror | BiasField | Gamma | Intensity | Noise | Blur | LowResolution
_METHODS = (
    *("mirror", "affine", "elastic", "bias_field", "gamma"),
    *("intensity", "noise", "blur", "low_resolution"),
)


def _method(transform: Any) -> Any:
    """Return the name of a transform's section; braces, because it is no key."""
    if isinstance(transform, Mapping):
        name = None if "_target_" in transform else transform.get("method")
    else:
        name = getattr(transform, "method", None)
    return "{_target_}" if name is None else f"{{{name}}}"


def _known(transform: Any) -> Any:
    """Refuse a mapping that names no transform."""
    if isinstance(transform, Mapping) and "_target_" not in transform:
        name = transform.get("method")
        if name is None:
            raise ValueError("a transform needs a `method`, or an import path `_target_`")
        if name not in _METHODS:
            raise ValueError(f"unknown method `{name}`; {nearest(name, _METHODS)}")
    elif isinstance(transform, str):
        raise ValueError(f"write {{method: {transform}}}, with a key and a value")
    return transform


TransformConfig = Annotated[
    Annotated[Mirror, Tag("{mirror}")]
    | Annotated[Affine, Tag("{affine}")]
    | Annotated[Elastic, Tag("{elastic}")]
    | Annotated[BiasField, Tag("{bias_field}")]
    | Annotated[Gamma, Tag("{gamma}")]
    | Annotated[Intensity, Tag("{intensity}")]
    | Annotated[Noise, Tag("{noise}")]
    | Annotated[Blur, Tag("{blur}")]
    | Annotated[LowResolution, Tag("{low_resolution}")]
    | Annotated[ImportedTransform, Tag("{_target_}")],
    Discriminator(_method),
    BeforeValidator(_known),
]

Transforms = tuple[TransformConfig, ...]


def _form(augmentation: Any) -> str:
    return "{list}" if isinstance(augmentation, list | tuple) else "{mapping}"


Augmentation = Annotated[
    Annotated[AugmentationConfig, Tag("{mapping}")] | Annotated[Transforms, Tag("{list}")],
    Discriminator(_form),
]


def mirror_pairs_of(augmentation: AugmentationConfig | Transforms) -> Pairs:
    """Return the structures that change names when mirrored along x, whatever the form."""
    if isinstance(augmentation, AugmentationConfig):
        return augmentation.mirror_pairs
    mirrors = (transform for transform in augmentation if isinstance(transform, Mirror))
    return tuple(dict.fromkeys(pair for mirror in mirrors for pair in mirror.pairs))
