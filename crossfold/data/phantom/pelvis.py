"""A male pelvis drawn from smooth implicit surfaces: the anatomy behind the phantom.

Coordinates are those of a standard pelvis in mm, pointing right, anterior and superior, with the
origin midway between the centres of the femoral heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from crossfold.data.phantom.patient import Patient, Visit
from crossfold.data.phantom.shapes import (
    Canvas,
    Field,
    along_direction,
    blend,
    ellipsoid,
    from_centre,
    stretched,
    tube,
    turned,
    waves,
)

STRUCTURES = {
    "external": 1,
    "femur_r": 2,
    "femur_l": 3,
    "rectum": 4,
    "prostate": 5,
    "bladder": 6,
    "seminalvesicles": 7,
}


def paint_pelvis(
    points_mm: Field, *, voxel_mm: float, patient: Patient, visit: Visit
) -> tuple[Field, NDArray[np.uint8]]:
    """Paint a patient as he lay on the couch on the day of a visit.

    Parameters
    ----------
    points_mm
        (3, x, y, z) voxel centres relative to the isocentre, pointing right, anterior, superior.
    voxel_mm
        Geometric mean of the voxel size.
    patient, visit
        The person and the day.

    Returns
    -------
    ct
        (x, y, z) CT numbers in HU before noise.
    labels
        (x, y, z) exclusive label map, values of `STRUCTURES`, 0 outside the body.
    """
    canvas = Canvas(_standard_points(points_mm, patient, visit), voxel_mm / patient.size)
    prostate = _Prostate.of(patient, visit)
    fat = patient.stream("fat").normal(-98, 4)
    muscle = patient.stream("muscle").normal(52, 4)
    _paint_body(canvas, patient, fat=fat, muscle=muscle)
    _paint_cavities_and_muscles(canvas, patient, prostate, fat=fat, muscle=muscle)
    _paint_pelvic_bones(canvas, patient)
    _paint_vessels_and_nodes(canvas, patient)
    _paint_bowel(canvas, visit)
    _paint_rectum(canvas, patient, visit, prostate)
    _paint_bladder(canvas, patient, visit, prostate)
    _paint_vesicles(canvas, patient, prostate)
    _paint_prostate(canvas, patient, prostate)
    _paint_femurs(canvas, patient)
    return canvas.ct, canvas.labels


def _standard_points(points_mm: Field, patient: Patient, visit: Visit) -> Field:
    """Undo shift, pose and size, then bend space a little: nobody is symmetric."""
    tilt, turn, roll = np.deg2rad(visit.angles_deg)
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    about_y = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    pose = np.asarray(about_x) @ about_y @ about_z
    points = turned(from_centre(points_mm, visit.shift_mm), pose)
    points /= np.float32(patient.size)
    random = patient.stream("warp")
    bend = [waves(points, random, amplitude=1.8, wavelength_mm=160) for _ in range(3)]
    return points + np.stack(bend)


def _paint_body(canvas: Canvas, patient: Patient, *, fat: float, muscle: float) -> None:
    x, y, z = canvas.points
    random = patient.stream("body")
    width, depth = patient.half_width_mm / patient.size, patient.half_depth_mm / patient.size
    waist = np.clip((z + 20) / 150, 0, 1) ** 1.5
    scaled_x = x / (width * (1 - random.uniform(0.06, 0.16) * waist))
    scaled_y = (y + 12) / (depth * (1 - random.uniform(-0.06, 0.06) * waist))
    norm = (np.abs(scaled_x) ** 2.5 + np.abs(scaled_y) ** 2.5) ** np.float32(0.4)
    trunk = np.hypot(x, y + 12) * (1 - 1 / np.maximum(norm, 1e-3))
    perineum_mm = random.uniform(-82, -70)
    thighs = tube(canvas.mirrored, [(width - 84, -8, -40), (width - 88, -2, -200)], (84, 78))
    genitals = ellipsoid(canvas.points, (0, 55, perineum_mm - 15), (26, 34, 30))
    body = blend(blend(np.maximum(trunk, perineum_mm - z), thighs, 25), genitals, 8)
    cleft = ellipsoid(canvas.points, (0, -12 - depth, -45), (4, 22, 45))
    body = np.maximum(body, -cleft) + waves(canvas.points, random, amplitude=1.5, wavelength_mm=90)
    canvas.paint(body, 10, STRUCTURES["external"])
    canvas.paint(body + 3, fat + waves(canvas.points, random, amplitude=4, wavelength_mm=30))
    belly = np.clip((y - 10) / 60, 0, 1) + np.clip((-y - 50) / 60, 0, 0.6)
    layer = patient.fat_mm * (0.7 + 0.6 * belly)
    lean = body + layer + waves(canvas.points, random, amplitude=2, wavelength_mm=50)
    septa = waves(canvas.points, random, amplitude=1, wavelength_mm=110)
    marbling = np.exp(-((septa / random.uniform(0.05, 0.12)) ** 2)) * random.uniform(0.6, 1)
    texture = waves(canvas.points, random, amplitude=4, wavelength_mm=20)
    canvas.paint(lean, muscle + texture + marbling * (fat - muscle))


def _paint_cavities_and_muscles(
    canvas: Canvas, patient: Patient, prostate: _Prostate, *, fat: float, muscle: float
) -> None:
    random = patient.stream("muscles")
    points, sides = canvas.points, canvas.mirrored
    stranding = fat + 8 + waves(points, random, amplitude=8, wavelength_mm=25)
    canvas.paint(ellipsoid(points, (0, 22, 115), (100, 56, 90)), stranding)
    canvas.paint(ellipsoid(points, (0, -14, 42), (60, 62, 56)), stranding)
    floor = prostate.radii[0] + random.uniform(6, 11)
    canvas.paint(ellipsoid(points, (0, -12, -12), (floor, 54, 44)), stranding)
    canvas.paint(ellipsoid(sides, (36, -56, -44), (15, 20, 24)), fat)
    groin = random.uniform(8, 14)
    canvas.paint(ellipsoid(sides, (48, 62, -5), (22, groin, 50)), fat)
    psoas = [(52, -12, 120), (66, 18, 50), (86, 34, 5), (112, 2, -55)]
    canvas.paint(tube(sides, psoas, (24, 21, 17, 9)), muscle)
    canvas.paint(ellipsoid(sides, (57, 4, -8), (8, 36, 34)), muscle)
    canvas.paint(ellipsoid(sides, (60, -62, 35), (34, 9, 16)), muscle)
    levator = ellipsoid(sides, (floor - 4, -16, -34), (5, 38, 26))
    canvas.paint(levator, muscle)
    canvas.paint(ellipsoid(points, (0, -4, -66), (26, 30, 14)), muscle)
    canvas.paint(ellipsoid(points, (0, 4, -68), (13, 20, 9)), random.normal(45, 5))
    # The venous plexus around the gland hides its edge.
    plexus = ellipsoid(
        points, np.add(prostate.centre, (0, 3, -2)), np.add(prostate.radii, (5, 3, 4))
    )
    canvas.paint(plexus, 8 + waves(points, random, amplitude=20, wavelength_mm=14))


def _paint_pelvic_bones(canvas: Canvas, patient: Patient) -> None:
    random = patient.stream("bones")
    points, sides = canvas.points, canvas.mirrored
    spongy = random.uniform(150, 280) + waves(points, random, amplitude=35, wavelength_mm=18)
    head = np.asarray((88, 0, 0))
    along = np.asarray((65, 82, 10)) / np.linalg.norm((65, 82, 10))
    across = np.cross(along, (0.35, -0.15, 1))
    across /= np.linalg.norm(across)
    wing = ellipsoid(sides, (85, -20, 74), (60, 7, 56), (along, across, np.cross(along, across)))
    roof = ellipsoid(sides, (88, -4, 36), (15, 22, 22))
    reach = np.sqrt(np.sum(from_centre(sides, head) ** 2, axis=0))
    facing = along_direction(from_centre(sides, head), (-0.75, -0.15, 0.6))
    socket = np.maximum(np.abs(reach - 33) - 4.5, 2 - facing)
    ischium = tube(sides, [(72, -28, 4), (64, -34, -30), (56, -26, -62)], (12, 11, 14))
    rami = tube(sides, [(66, 22, 8), (34, 42, -2), (11, 49, -18)], (9, 8, 9))
    lower_ramus = tube(sides, [(11, 46, -34), (32, 12, -52), (54, -20, -62)], (7, 6, 9))
    symphysis = ellipsoid(sides, (11.5, 47, -22), (9, 9, 20))
    hip = blend(blend(wing, roof, 8), socket, 6)
    pubis = np.minimum(np.minimum(rami, lower_ramus), symphysis)
    canvas.paint_bone(np.minimum(hip, np.minimum(ischium, pubis)), spongy)
    curve = random.normal(0, 3)
    wide = stretched(points, (0.58, 1, 1))
    course = [(0, -58, 122), (0, -76, 94), (0, -92 - curve, 62), (0, -90 - curve, 36)]
    sacrum = tube(wide, [*course, (0, -78, 14), (0, -66, 2)], (26, 21, 15, 11, 7, 4))
    canvas.paint_bone(sacrum, spongy - 40)
    canvas.paint_bone(ellipsoid(points, (0, -40, 128), (28, 22, 16)), spongy)


def _paint_vessels_and_nodes(canvas: Canvas, patient: Patient) -> None:
    random = patient.stream("vessels")
    sides = canvas.mirrored
    # One in five has had intravenous contrast.
    blood = random.normal(45, 4) + (random.uniform(60, 130) if random.random() < 0.2 else 0)
    artery = [(38, -8, 120), (52, 12, 70), (56, 48, 20), (50, 58, -20), (58, 46, -90)]
    vein = np.add(artery, (-10, -8, 0))
    canvas.paint(tube(sides, artery, (6, 5, 5, 5, 4)), blood)
    canvas.paint(tube(sides, vein, (7, 6, 6, 6, 5)), blood - 5)
    internal = [(36, -12, 110), (46, -40, 60), (50, -46, 20)]
    canvas.paint(tube(sides, internal, (6, 4, 3)), blood)
    cord = [(18, 62, -40), (40, 66, 0), (58, 48, 35)]
    canvas.paint(tube(sides, cord, (5, 5, 3)), random.normal(5, 10))
    for _ in range(random.integers(6, 13)):
        beside = artery[random.integers(0, 4)] + random.normal(0, 9, size=3)
        beside[0] *= random.choice((-1, 1))
        node = ellipsoid(canvas.points, beside, random.uniform(2.5, 6, size=3))
        canvas.paint(node, random.normal(35, 8))


def _paint_bowel(canvas: Canvas, visit: Visit) -> None:
    random = visit.stream("bowel")
    for _ in range(random.integers(7, 13)):
        centre = random.uniform((-62, -8, 62), (62, 52, 125))
        course = centre + random.normal(0, 18, size=(4, 3))
        radius = random.uniform(8, 14)
        loop = tube(canvas.points, course, [radius] * 4)
        loop += waves(canvas.points, random, amplitude=1.5, wavelength_mm=25)
        canvas.paint(loop, random.normal(38, 5))
        filling = random.choice(
            (-850, random.uniform(-5, 45), random.uniform(60, 220)), p=(0.25, 0.6, 0.15)
        )
        canvas.paint(loop + 3.5, filling)


@dataclass(frozen=True)
class _Prostate:
    """Where the prostate lies: its neighbours are placed around it."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]

    @classmethod
    def of(cls, patient: Patient, visit: Visit) -> _Prostate:
        random = patient.stream("prostate")
        shape = np.asarray((1.2, 0.9, 1.0)) * random.uniform(0.92, 1.08, size=3)
        radii = _radii(patient.prostate_ml / patient.size**3, shape)
        moved = visit.stream("prostate").normal(0, (0.7, 1.5, 1.5))
        base_mm = random.normal(1, 3) + 0.15 * (radii[2] - 20)
        centre = np.asarray((random.normal(0, 1.5), 31 - radii[1], base_mm - radii[2])) + moved
        return cls(centre, radii)

    @property
    def back_mm(self) -> float:
        return float(self.centre[1] - self.radii[1])

    @property
    def base_mm(self) -> float:
        return float(self.centre[2] + self.radii[2])


def _radii(volume_ml: float, shape: ArrayLike) -> NDArray[np.float64]:
    """Radii in mm, in the proportions of `shape`, of an ellipsoid of the volume."""
    shape = np.asarray(shape)
    return shape * np.cbrt(3000 * volume_ml / (4 * np.pi * np.prod(shape)))


def _paint_rectum(canvas: Canvas, patient: Patient, visit: Visit, prostate: _Prostate) -> None:
    random, day = patient.stream("rectum"), visit.stream("rectum")
    low, high = random.uniform(-52, -44), random.uniform(58, 74)
    flat = random.uniform(1.1, 1.35)
    heights = np.linspace(low, high, 12)
    profile = PchipInterpolator(
        (low, -25, 5, 35, high), (0.8, 0.95, *day.uniform(1.0, 1.5, size=2), 0.9)
    )(heights)
    area = np.trapezoid(np.pi * profile**2, heights) * flat / 1000
    radii = profile * np.sqrt(visit.rectum_ml / patient.size**3 / area / 1.12)
    front = prostate.back_mm - random.uniform(2, 4)
    backs = random.normal((front - 8, front, front - 8, front - 20, -34), 1.5)
    sway = (0, 0, *random.normal(0, (4, 7, 9)))
    course_x = PchipInterpolator((low, -25, 5, 35, high), sway)(heights)
    course_y = PchipInterpolator((low, -25, 5, 35, high), backs)(heights)
    nodes = np.stack([course_x / flat, np.maximum(course_y - radii, -72), heights], axis=1)
    squeezed = stretched(canvas.points, (1 / flat, 1, 1))
    wall = random.normal(40, 4)
    onward = [nodes[-1], nodes[-1] + (12, 16, 14), nodes[-1] + (32, 40, 22)]
    canvas.paint(tube(squeezed, onward, (radii[-1], 13, 12)), wall)
    canal = [(0, -52, -95), (0, nodes[0, 1] - 3, -60), nodes[0]]
    canvas.paint(tube(squeezed, canal, (10, 11, radii[0])), wall + 5)
    rectum = tube(squeezed, nodes, radii)
    rectum += waves(canvas.points, day, amplitude=1.0, wavelength_mm=35)
    canvas.paint(rectum, wall, STRUCTURES["rectum"])
    stool = day.uniform(-5, 45) + waves(canvas.points, day, amplitude=25, wavelength_mm=14)
    bubbles = waves(canvas.points, day, amplitude=1, wavelength_mm=12) > day.uniform(1.2, 2.2)
    lumen = rectum + day.uniform(3, 5)
    canvas.paint(lumen, np.where(bubbles, -350, stool))
    if visit.rectum_gas > 0:
        surface = np.interp(
            canvas.points[2], heights, nodes[:, 1] + radii * (1 - 2 * visit.rectum_gas)
        )
        patchy = waves(canvas.points, day, amplitude=6, wavelength_mm=60)
        canvas.paint(np.maximum(lumen, surface + patchy - canvas.points[1]), -950)


def _paint_bladder(canvas: Canvas, patient: Patient, visit: Visit, prostate: _Prostate) -> None:
    random, day = patient.stream("bladder"), visit.stream("bladder")
    fullness = (visit.bladder_ml - 62) / 320
    shape = (
        np.asarray((1.3, 1.05, 0.62)) * (1 - fullness) + np.asarray((1.08, 0.9, 1.02)) * fullness
    )
    radii = _radii(visit.bladder_ml / patient.size**3, shape * random.uniform(0.94, 1.06, size=3))
    back = min(prostate.back_mm + 9, -2) - 9 * fullness
    centre = (day.normal(0, 3), back + radii[1], prostate.base_mm - 4 + 0.95 * radii[2])
    lean = np.deg2rad(20 * (1 - fullness) + random.normal(0, 6))
    axes = [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]
    bladder = ellipsoid(canvas.points, centre, radii, axes)
    bladder += waves(canvas.points, day, amplitude=1.8, wavelength_mm=60)
    canvas.paint(bladder, random.normal(36, 4), STRUCTURES["bladder"])
    urine = day.normal(8, 4)
    # Contrast medium, in one of twelve, sinks to the back of the bladder.
    dose = day.uniform(80, 250) if day.random() < 1 / 12 else 0
    layered = urine + dose * np.clip(0.5 - (canvas.points[1] - centre[1]) / 20, 0, 1)
    canvas.paint(bladder + random.uniform(2.5, 4.5) + 2 * (1 - fullness), layered)


def _paint_vesicles(canvas: Canvas, patient: Patient, prostate: _Prostate) -> None:
    random = patient.stream("vesicles")
    reach, rise, drop = random.uniform(24, 36), random.uniform(6, 22), random.uniform(3, 11)
    root = np.asarray((4, prostate.back_mm + 9, prostate.base_mm - 3))
    tip = np.asarray((reach, -drop, rise))
    nodes = root + np.outer((0, 0.35, 1), tip)
    length_mm = np.sum(np.linalg.norm(np.diff(nodes, axis=0), axis=1))
    radius = np.sqrt(1000 * patient.vesicles_ml / patient.size**3 / (2 * np.pi * (length_mm + 4)))
    asymmetry = random.normal(0, (1.5, 1.5, 2))
    sides = from_centre(canvas.mirrored, asymmetry / 2)
    sides = np.where(canvas.points[:1] > 0, sides, from_centre(canvas.mirrored, -asymmetry / 2))
    vesicles = tube(sides, nodes, (0.95 * radius, 1.2 * radius, 0.85 * radius))
    vesicles += waves(canvas.points, random, amplitude=0.9, wavelength_mm=18)
    texture = waves(canvas.points, random, amplitude=6, wavelength_mm=10)
    canvas.paint(vesicles, random.normal(30, 5) + texture, STRUCTURES["seminalvesicles"])


def _paint_prostate(canvas: Canvas, patient: Patient, prostate: _Prostate) -> None:
    random = patient.stream("gland")
    offset = from_centre(canvas.points, prostate.centre)
    height = np.clip(offset[2] / prostate.radii[2], -1, 1)
    taper = 1 + random.uniform(0.12, 0.3) * height
    offset = np.stack([offset[0] / taper, offset[1] - random.normal(0, 2) * height, offset[2]])
    gland = ellipsoid(offset, (0, 0, 0), prostate.radii)
    gland += waves(canvas.points, random, amplitude=1.2, wavelength_mm=40)
    texture = waves(canvas.points, random, amplitude=5, wavelength_mm=18)
    canvas.paint(gland, random.normal(41, 4) + texture, STRUCTURES["prostate"])
    for _ in range(random.integers(0, 4)):
        spot = prostate.centre + random.uniform(-0.5, 0.5, size=3) * prostate.radii
        canvas.paint(ellipsoid(canvas.points, spot, (1.5, 1.5, 2)), random.uniform(150, 500))


def _paint_femurs(canvas: Canvas, patient: Patient) -> None:
    random = patient.stream("femurs")
    sides = canvas.mirrored
    head_radius = random.uniform(22.5, 25.5)
    knee = np.asarray((114, random.normal(0, 6), -150))
    corner = np.asarray((128, random.normal(-12, 4), -34 + random.normal(0, 4)))
    head = ellipsoid(sides, (88, 0, 0), [head_radius] * 3)
    neck = tube(sides, np.stack([(90, 0, -1), (108, -6, -16), corner]), (16, 12.5, 16))
    trochanter = ellipsoid(sides, np.add(corner, (8, -8, 14)), (12, 15, 19))
    lesser = ellipsoid(sides, np.add(corner, (-14, -8, -26)), (8, 8, 10))
    shaft = tube(sides, np.stack([corner, knee]), (16, 14))
    femur = blend(blend(head, neck, 8), blend(blend(trochanter, lesser, 6), shaft, 6), 6)
    joint_space = head - 3
    canvas.paint(joint_space, 40)
    marrow = np.clip((sides[2] - corner[2] + 10) / 25, 0, 1)
    texture = waves(canvas.points, random, amplitude=30, wavelength_mm=15)
    spongy = random.uniform(-20, 40) * (1 - marrow) + (random.uniform(220, 340) + texture) * marrow
    side = np.where(canvas.points[0] > 0, STRUCTURES["femur_r"], STRUCTURES["femur_l"])
    # Contours of the femoral head and neck end below the lesser trochanter; the shaft goes on.
    canvas.paint_bone(femur, spongy)
    ends_mm = corner[2] - random.uniform(30, 38)
    above = np.maximum(femur, ends_mm - canvas.points[2])
    np.copyto(canvas.labels, side.astype(np.uint8), where=above < 0)
