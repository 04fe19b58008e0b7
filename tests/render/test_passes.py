"""Image passes agree with the images and with each other, on real renders."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.pack import EncodedImages, pack
from render.paths import CameraConfig, Frame, SequenceConfig, fit, image_times
from render.runner import BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe, RenderedClip
from shards.camera import project
from shards.sample import AssetMeta, ClipMeta
from shards.seeding import ClipAddress
from tests.render.make_gltf import FACES, Gltf, to_gltf

pytestmark = pytest.mark.blender

SIZE = 96
ALL = ("depth", "normal", "flow", "index", "tracks", "joints")


def settings(**sequences: object) -> RenderConfig:
    """One sample at each pixel's centre, where the passes look too."""
    camera = CameraConfig(elevation_deg=25.0)
    plan = {"frames": 10, "width": SIZE, "height": SIZE, "camera": camera} | sequences
    return RenderConfig(
        sequences=SequenceConfig.model_validate(plan),
        engine=EngineConfig(samples=1, filter_width_px=0.01),
        passes=ALL,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gltf")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[BlenderSession]:
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


def render(
    session: BlenderSession, path: Path, config: RenderConfig, duration_s: float = 1.0
) -> tuple[RenderedClip, Frame]:
    session.open(path, "gltf", [duration_s])
    times_s = image_times(0.0, duration_s, config.sequences)
    found = session.probe(0, times_s, 10_000, 10_000)
    assert isinstance(found, Probe)
    frame = fit(found.extremes, config.sequences)
    return session.render(ClipAddress(0, "uid", 0), (0.0, duration_s), frame, config), frame


@pytest.fixture(scope="module")
def cubes(session: BlenderSession, folder: Path) -> tuple[RenderedClip, Frame]:
    """Two coloured cubes, one passing in front of the other."""
    gltf = Gltf()
    gltf.node("still", gltf.cube(0.8), at=(0, 0.8, 0))
    mover = gltf.node("mover", gltf.cube(0.5))
    gltf.animate("pass", {mover: ([0.0, 1.0], [(-1, -0.5, 0), (1, -0.5, 0.2)])})
    return render(session, gltf.save(folder / "cubes.gltf"), settings())


def test_depth_is_there_where_the_image_is(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, _ = cubes
    for name, arrays in clip.passes.sequences.items():
        drawn = clip.images[name][..., 3] > 0
        assert ((arrays["depth"].values > 0) != drawn).mean() < 2e-4, name
        assert ((arrays["index"].values[..., 0] > 0) == (arrays["depth"].values > 0)).all()


def test_objects_have_their_own_index(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, _ = cubes
    index = clip.passes.sequences["front"]["index"].values
    middle = index[5, SIZE // 2 - 20 : SIZE // 2 + 20, SIZE // 2, 0]
    assert set(np.unique(index[..., 0])) == {0, 1, 2}
    assert len(set(np.unique(index[..., 1])) - {0}) >= 3  # materials of several faces
    assert len(set(middle) - {0}) >= 1
    assert clip.passes.objects == ("still", "mover")
    assert len(clip.passes.materials) == 12


def test_normals_are_the_faces_own(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, frame = cubes
    arrays = clip.passes.sequences["orbit"]
    normal = arrays["normal"].values * arrays["normal"].scale
    seen = arrays["depth"].values > 0
    np.testing.assert_allclose(np.linalg.norm(normal[seen], axis=-1), 1, atol=1e-3)
    largest = np.abs(normal[seen]).max(axis=-1)
    np.testing.assert_allclose(largest, 1, atol=1e-3)  # the cubes stand along the axes
    colours = clip.images["orbit"][..., :3]
    for direction, srgb in FACES.values():
        face = seen & (np.abs(colours.astype(int) - srgb).max(axis=-1) <= 1)
        if face.any():
            np.testing.assert_allclose(normal[face] - direction, 0, atol=2e-3)
    poses = frame.poses(clip.views["orbit"])
    towards = np.einsum("thwx,tx->thw", normal, poses[:, :3, 2])
    assert (towards[seen] < 0.72).all()  # facing: within the field of view of looking back


def test_flow_carries_an_image_to_the_next(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, _ = cubes
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for name in ("orbit", "front"):
        arrays = clip.passes.sequences[name]
        flow = arrays["flow"].values * arrays["flow"].scale
        hidden = arrays["occlusion"].values
        images = clip.images[name][..., :3].astype(float) / 255
        for step, channel, bit in ((1, 0, 1), (-1, 2, 2)):
            errors = []
            for i in range(1, 9):
                x = np.round(columns + flow[i, ..., channel]).astype(int)
                y = np.round(rows + flow[i, ..., channel + 1]).astype(int)
                valid = (arrays["depth"].values[i] > 0) & (hidden[i] & bit == 0)
                valid &= (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
                moved = images[i + step][y[valid], x[valid]]
                errors.append(((moved - images[i][valid]) ** 2).mean(axis=-1))
            error = np.concatenate(errors)
            # a flat face has one colour: only pixels rounded over an edge may differ
            assert (error > 1e-4).mean() < 0.06, (name, step)
        assert (hidden[0][arrays["depth"].values[0] > 0] & 2).all()
        assert (hidden[-1][arrays["depth"].values[-1] > 0] & 1).all()
    hidden_share = (clip.passes.sequences["front"]["occlusion"].values[3:7] & 1).astype(bool).mean()
    assert hidden_share > 0.002  # one cube passes before the other


def between(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Interpolate pixel values linearly at image points (x, y)."""
    corner = np.floor(pixels - 0.5).astype(int)
    share = (pixels - 0.5 - corner).reshape(-1, 2, *[1] * (image.ndim - 2))
    total = 0.0
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            total = total + weight * image[corner[:, 1] + dy, corner[:, 0] + dx]
    return np.asarray(total)


def on_one_face(index: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Tell which image points have one object and material at all four pixels around."""
    corner = np.floor(pixels - 0.5).astype(int)
    inside = ((corner >= 0) & (corner < SIZE - 1)).all(axis=1)
    x, y = np.where(inside[:, None], corner, 0).T
    four = np.stack([index[y + dy, x + dx] for dx in (0, 1) for dy in (0, 1)])
    return inside & (four == four[0]).all(axis=(0, 2)) & (four[0] > 0).all(axis=1)


def test_flow_is_where_the_same_point_goes(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, frame = cubes
    points = clip.passes.clip["tracks.points"].values.astype(float)
    for name, views in clip.views.items():
        poses, arrays = frame.poses(views), clip.passes.sequences[name]
        flow = arrays["flow"].values * arrays["flow"].scale
        for i in range(1, 9):
            here, _ = project(points[views.time_index[i]], clip.k, poses[i])
            known = arrays["visible"].values[i] & on_one_face(arrays["index"].values[i], here)
            assert known.sum() > 200
            found = between(flow[i], here[known])
            for step, channels in ((1, slice(0, 2)), (-1, slice(2, 4))):
                there, _ = project(points[views.time_index[i + step]], clip.k, poses[i + step])
                error = np.linalg.norm(found[:, channels] - (there - here)[known], axis=1)
                assert error.max() < 0.05, (name, i, step)


def test_depth_and_tracks_agree(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, frame = cubes
    points = clip.passes.clip["tracks.points"].values.astype(float)
    for name, views in clip.views.items():
        arrays = clip.passes.sequences[name]
        for i, pose in enumerate(frame.poses(views)):
            now = points[views.time_index[i]]
            pixels, _ = project(now, clip.k, pose)
            known = arrays["visible"].values[i] & on_one_face(arrays["index"].values[i], pixels)
            depth = arrays["depth"].values[i] * arrays["depth"].scale
            with np.errstate(divide="ignore"):
                away = 1 / between(1 / depth, pixels[known])  # linear in the image on a plane
            # unprojected with K and c2w, the image point is the track's point
            ray = np.concatenate([pixels[known], np.ones((known.sum(), 1))], axis=1)
            local = ray @ np.linalg.inv(clip.k).T * away[:, None]
            gap = np.linalg.norm(local @ pose[:3, :3].T + pose[:3, 3] - now[known], axis=1)
            assert gap.max() < 5e-4, (name, i)


def test_tracks_show_their_colour(cubes: tuple[RenderedClip, Frame]) -> None:
    clip, _ = cubes
    colour = clip.passes.clip["tracks.colour"].values.astype(int)
    known = np.array([srgb for _, srgb in FACES.values()])
    ever = np.any([a["visible"].values.any(axis=0) for a in clip.passes.sequences.values()], axis=0)
    nearest = np.abs(colour[ever, None] - known).max(axis=-1).min(axis=-1)
    assert ever.mean() > 0.6  # never seen: bottoms, and faces turned to the other cube
    assert (nearest <= 2).mean() > 0.9  # the rest lies near an edge and took both colours


def test_what_stands_still_keeps_its_place(session: BlenderSession, folder: Path) -> None:
    gltf = Gltf()
    node = gltf.node("still", gltf.cube())
    gltf.animate("nothing", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0)])})
    clip, _ = render(session, gltf.save(folder / "still.gltf"), settings(names=("orbit",)))
    points = clip.passes.clip["tracks.points"].values
    assert points.shape == (10, 2048, 3)
    assert (points == points[0]).all()
    assert np.abs(points).max() == pytest.approx(0.5, abs=1e-5)
    assert np.abs(clip.passes.sequences["orbit"]["flow"].values).max() > 0  # the camera moves
    assert clip.passes.joints is None


@pytest.mark.parametrize(
    ("names", "cameras", "times"),
    [
        (("static",), [], [0]),
        (("list",), [{"time": 0.5}], [5]),
        (("static", "list"), [{"time": 0.5, "azimuth_deg": 30.0}], [0, 5]),
    ],
)
def test_tracks_have_the_times_that_images_show(
    session: BlenderSession,
    folder: Path,
    names: tuple[str, ...],
    cameras: list[dict[str, float]],
    times: list[int],
) -> None:
    gltf = Gltf()
    node = gltf.node("mover", gltf.cube(0.5))
    gltf.animate("pass", {node: ([0.0, 1.0], [(-1, 0, 0), (1, 0, 0)])})
    path = gltf.save(folder / "sparse.gltf")
    clip, frame = render(session, path, settings(names=names, cameras=cameras, root_motion="keep"))
    assert clip.passes.times == tuple(times)
    points = clip.passes.clip["tracks.points"].values
    assert points.shape == (len(times), 2048, 3)
    way = (np.array(times) / 10 * 2 - 1 + frame.offset[0]) * frame.scale
    np.testing.assert_allclose(points[..., 0].mean(axis=1), way, atol=0.02)
    for name in names:
        visible = clip.passes.sequences[name]["visible"].values
        assert 0.1 < visible.mean() < 0.9
    about = AssetMeta(uid="u", path="u", source="local", format="gltf", sha256="")
    window = ClipMeta(index=0, name="pass", duration_s=1.0, window_start_s=0, window_stop_s=1)
    with EncodedImages("webp") as encoded:
        for name, images in clip.images.items():
            encoded.add(name, images)
        meta, _ = pack(about, window, frame, clip, {}, encoded)
    np.testing.assert_allclose(meta.time_axis_s, np.array(times) / 10)
    assert meta.arrays["tracks.points"].shape[0] == len(meta.time_axis_s)


def test_removed_motion_is_removed_from_tracks(session: BlenderSession, folder: Path) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube(0.5))
    gltf.animate("go", {node: ([0.0, 1.0], [(0, 0, 0), (3, 0, 0)])})
    path = gltf.save(folder / "go.gltf")
    for mode, travelled in (("remove", 0.0), ("follow", 3.0), ("keep", 3.0)):
        config = settings(names=("front",), root_motion=mode)
        clip, frame = render(session, path, config)
        centre = clip.passes.clip["tracks.points"].values.mean(axis=1)
        moved = (centre[-1] - centre[0])[0] / frame.scale
        assert moved == pytest.approx(travelled * 0.9, abs=0.02), mode  # half open: 9 of 10 steps


def test_holes_in_a_texture_are_holes_in_depth(session: BlenderSession, folder: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3], pixels[:, 4:, 3] = 200, 255  # the left half is clear
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    gltf = Gltf()
    corners = np.array(
        [to_gltf(c) for c in [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1)]], "<f4"
    )
    uv = np.array([(0, 1), (1, 1), (1, 0), (0, 0)], "<f4")
    uri = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    gltf.doc |= {"images": [{"uri": uri}], "textures": [{"source": 0}]}
    gltf.doc["materials"].append(
        {
            "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}},
            "alphaMode": "MASK",
            "doubleSided": True,
        }
    )
    attributes = {
        "POSITION": gltf.accessor(corners, "VEC3"),
        "TEXCOORD_0": gltf.accessor(uv, "VEC2"),
    }
    indices = gltf.accessor(np.array([0, 1, 2, 0, 2, 3], "<u2"), "SCALAR")
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    gltf.doc["meshes"].append({"primitives": [primitive]})
    sheet = gltf.node("sheet", 0)
    gltf.node("behind", gltf.cube(0.5), at=(-0.5, 1.5, 0))
    gltf.animate("up", {sheet: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0.3)])})
    clip, _ = render(session, gltf.save(folder / "mask.gltf"), settings(names=("front",)))
    depth = clip.passes.sequences["front"]["depth"].values
    drawn = clip.images["front"][..., 3] > 127
    assert ((depth > 0) != drawn).mean() < 0.01
    assert 0.05 < drawn.mean() < 0.5
    objects = clip.passes.sequences["front"]["index"].values[..., 0]
    assert set(np.unique(objects)) == {0, 1, 2}  # the cube is seen through the hole


def test_bones_are_named_and_move_what_they_move(
    session: BlenderSession, folder: Path, samples_dir: Path
) -> None:
    path = samples_dir / "pip.glb"
    assert path.exists()
    with BlenderProcess(WorkerConfig(), [samples_dir]) as process:
        other = BlenderSession(process, LimitConfig())
        other.open(path, "glb", [1.0])
        config = settings(names=("front",))
        times_s = image_times(0.0, 1.0, config.sequences)
        found = other.probe(0, times_s, 100_000, 10_000)
        assert isinstance(found, Probe)
        frame = fit(found.extremes, config.sequences)
        clip = other.render(ClipAddress(0, "uid", 0), (0.0, 1.0), frame, config)
    joints, arrays = clip.passes.joints, clip.passes.clip
    assert joints is not None
    assert len(set(joints.names)) == len(joints.names) == len(joints.parents)
    assert sum(parent == -1 for parent in joints.parents) >= 1
    places = arrays["joints.points"].values
    assert places.shape == (10, len(joints.names), 3)
    assert np.abs(places).max() < 0.6  # within the normalised cube, or nearly
    bones = arrays["tracks.bone"].values
    assert (bones >= 0).mean() > 0.9
    assert len(np.unique(bones)) >= 3
    # a point keeps its distance to the bone that moves it better than to any other one
    points = arrays["tracks.points"].values
    spread = np.linalg.norm(points[:, :, None] - places[:, None], axis=-1).std(axis=0)
    own = spread[np.arange(len(bones)), bones]
    assert np.median(own) < 0.3 * np.median(spread)


def test_exact_coverage_is_what_many_samples_tend_to(session: BlenderSession, folder: Path) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (0.5, 0, 0)])})
    path = gltf.save(folder / "cover.gltf")
    found = {}
    for name, engine in {
        "few": EngineConfig(samples=4, exact_coverage=False),
        "exact": EngineConfig(samples=4, quality="final"),
        "many": EngineConfig(samples=1024, exact_coverage=False),
    }.items():
        config = settings(names=("orbit",), frames=3).model_copy(
            update={"engine": engine, "passes": ()}
        )
        found[name] = render(session, path, config)[0].images["orbit"][..., 3].astype(float) / 255
    error = {name: np.sqrt(((found[name] - found["many"]) ** 2).mean()) for name in found}
    assert error["exact"] < 0.35 * error["few"]
