"""The stored document finds every vertex in the rendered image: each path, time and root motion.

Three unlit cubes of known colours travel along a bent path. Where they are at any time follows from
their keys alone; nothing here asks Blender for positions.
"""

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.pack import EncodedImages, pack
from render.paths import (
    CameraConfig,
    GivenCamera,
    GridConfig,
    SequenceConfig,
    SequenceName,
    draw_cameras,
    fit,
    image_times,
)
from render.runner import BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe, RenderedClip
from shards.camera import project
from shards.sample import AssetMeta, ClipMeta, SampleMeta
from shards.seeding import ClipAddress
from tests.render.make_gltf import Gltf

pytestmark = pytest.mark.blender

SIZE = 96
WINDOW_S = (0.1, 0.913)  # no sample time but the first meets a frame of 1/24 s
SIDE = 0.16
MARKERS = {  # colour -> place in the asset
    (255, 0, 0): (0.5, 0.1, -0.45),
    (0, 255, 0): (-0.3, 0.45, 0.05),
    (0, 0, 255): (-0.2, -0.5, 0.5),
}
KEYS_S, PLACES = [0.0, 0.5, 1.0], np.array([(5.0, 0, 0), (7.2, 0.3, 0.8), (8.0, 2.5, 0)])
SEQUENCES = SequenceConfig(
    names=get_args(SequenceName),
    frames=5,
    width=SIZE,
    height=SIZE,
    camera=CameraConfig(azimuth_range_deg=(-30, 30), elevation_range_deg=(-20, 40)),
    grid=GridConfig(views=3, times=2),
    cameras=(
        GivenCamera(azimuth_deg=200, elevation_deg=65, time=0.5),
        GivenCamera(azimuth_deg=-70, elevation_deg=-40, distance=6, time=0.777),
        GivenCamera(azimuth_deg=45, elevation_deg=10),
    ),
)
Shown = tuple[SampleMeta, RenderedClip]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Shown]]:
    folder = tmp_path_factory.mktemp("gltf")
    gltf = Gltf()
    moves = {}
    for colour, place in MARKERS.items():
        sides = {name: (normal, colour) for name, normal in _SIDES.items()}
        node = gltf.node("marker", gltf.cube(SIDE, sides))
        moves[node] = (KEYS_S, (PLACES + place).tolist())
    gltf.animate("travel", moves)
    path = gltf.save(folder / "markers.gltf")
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        session = BlenderSession(process, LimitConfig())
        session.open(path, "gltf", [1.0])
        found = session.probe(0, image_times(*WINDOW_S, SEQUENCES), 10_000, 10_000)
        assert isinstance(found, Probe)
        yield {mode: render(session, found, mode) for mode in ("keep", "remove", "follow")}


_SIDES = {
    "front": (0, -1, 0), "back": (0, 1, 0), "right": (1, 0, 0), "left": (-1, 0, 0),
    "top": (0, 0, 1), "bottom": (0, 0, -1),
}  # fmt: skip


def render(session: BlenderSession, found: Probe, mode: str) -> Shown:
    sequences = SEQUENCES.model_copy(update={"root_motion": mode})
    engine = EngineConfig(samples=1, filter_width_px=0.01)
    settings = RenderConfig(sequences=sequences, engine=engine)
    frame = fit(found.extremes, sequences, draw_cameras(sequences.camera, 0, "uid", 0))
    clip = session.render(ClipAddress(0, "uid", 0), WINDOW_S, frame, settings)
    about = AssetMeta(uid="uid", path="markers.gltf", source="local", format="gltf", sha256="")
    window = ClipMeta(
        index=0, name="travel", duration_s=1, window_start_s=WINDOW_S[0], window_stop_s=WINDOW_S[1]
    )
    with EncodedImages("webp") as encoded:
        for name, images in clip.images.items():
            encoded.add(name, images)
        return pack(about, window, frame, clip, {}, encoded)[0], clip


def to_world(meta: SampleMeta, points: np.ndarray, time_s: float) -> np.ndarray:
    """Do as the document of ``WorldMeta`` says."""
    world = (points + meta.world.offset) * meta.world.scale
    if meta.world.root_motion == "remove":
        world = world - meta.world.drift[meta.world.drift_times_s.index(time_s)]
    return world


def markers_at(time_s: float) -> dict[tuple[int, int, int], np.ndarray]:
    """Return the corners (8, 3) of each marker, in asset units."""
    centre = [np.interp(time_s, KEYS_S, PLACES[:, axis]) for axis in range(3)]
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * SIDE / 2
    return {colour: cube + place + centre for colour, place in MARKERS.items()}


@pytest.mark.parametrize("mode", ["keep", "remove", "follow"])
@pytest.mark.parametrize("name", SEQUENCES.names)
def test_known_vertices_land_on_what_was_rendered(
    shown: dict[str, Shown], name: str, mode: str
) -> None:
    meta, clip = shown[mode]
    about = meta.sequences[name]
    met = 0
    for i in range(about.frames):
        image, time_s = clip.images[name][i], about.times_s[i]
        k, c2w = np.array(about.K[i]), np.array(about.c2w[i])
        corners = []
        for colour, points in markers_at(time_s).items():
            pixels, _ = project(to_world(meta, points, time_s), k, c2w)
            corners.append(pixels)
            rows, columns = np.nonzero((image == (*colour, 255)).all(axis=-1))
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            away = np.abs(box - [*pixels.min(axis=0), *pixels.max(axis=0)])
            met += bool((away <= 1.0).all())  # else another marker may stand before it
        rows, columns = np.nonzero(image[..., 3])
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        expected = [*np.concatenate(corners).min(axis=0), *np.concatenate(corners).max(axis=0)]
        np.testing.assert_allclose(box, expected, atol=1.0, err_msg=f"{name} {i}")
        assert min(expected) >= 0
        assert max(expected) <= SIZE
    assert met >= 0.8 * 3 * about.frames


def test_remove_and_follow_show_the_same(shown: dict[str, Shown]) -> None:
    for name in SEQUENCES.names:
        np.testing.assert_array_equal(
            shown["remove"][1].images[name], shown["follow"][1].images[name]
        )


def test_the_object_stays_in_the_middle_and_larger_when_followed(shown: dict[str, Shown]) -> None:
    width = {}
    for mode in ("keep", "follow"):
        opaque = shown[mode][1].images["orbit"][..., 3] > 0
        spans = [np.ptp(np.nonzero(image.any(axis=0))[0]) + 1 for image in opaque]
        width[mode] = float(np.mean(spans))
    assert width["follow"] > 1.4 * width["keep"]


def test_the_path_is_written_down_and_can_be_put_back(shown: dict[str, Shown]) -> None:
    kept, removed, followed = (shown[mode][0].world for mode in ("keep", "remove", "follow"))
    assert (kept.drift, kept.drift_times_s) == ((), ())
    assert removed.drift == followed.drift
    times_s = np.array(removed.drift_times_s)
    path = np.array(removed.drift) / removed.scale  # asset units
    truth = np.stack([np.interp(times_s, KEYS_S, PLACES[:, axis]) for axis in range(3)], axis=1)
    np.testing.assert_allclose(path, truth - truth[0], atol=0.4)  # the bend is rounded off
    assert np.linalg.norm(path[-1]) > 2
    for name in SEQUENCES.names:
        still, moving = (shown[mode][0].sequences[name] for mode in ("remove", "follow"))
        rows = [removed.drift_times_s.index(time_s) for time_s in still.times_s]
        put_back = np.array(still.c2w)
        put_back[:, :3, 3] += np.array(removed.drift)[rows]
        np.testing.assert_allclose(put_back, np.array(moving.c2w), atol=1e-9)
