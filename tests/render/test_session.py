"""What Blender shows is what the numbers say: clip, time, camera, colour, to the pixel."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.paths import CameraConfig, SequenceConfig, fit, sample_times
from render.runner import BlenderFault, BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe, RenderedClip
from shards.camera import project
from shards.seeding import ClipAddress
from tests.render.make_gltf import FACES, Gltf, moving_cube

pytestmark = pytest.mark.blender

SIZE = 64
CONFIG = RenderConfig(
    sequences=SequenceConfig(
        frames=8, width=SIZE, height=SIZE, camera=CameraConfig(elevation_deg=20.0)
    ),
    engine=EngineConfig(samples=4, filter_width_px=0.01),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gltf")


@pytest.fixture(scope="module")
def session(folder: Path, request: pytest.FixtureRequest) -> Iterator[BlenderSession]:
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


def probe(session: BlenderSession, clip: int, times_s: list[float]) -> np.ndarray:
    found = session.probe(clip, np.array(times_s), 10_000, 10_000)
    assert isinstance(found, Probe)
    return found.points


def centres(session: BlenderSession, clip: int, times_s: list[float]) -> np.ndarray:
    return probe(session, clip, times_s).mean(axis=1)


def render(session: BlenderSession, clip: int, window_s: tuple[float, float]) -> RenderedClip:
    times_s = sample_times(*window_s, CONFIG.sequences.frames)
    found = session.probe(clip, times_s, 10_000, 10_000)
    assert isinstance(found, Probe)
    frame = fit(found.extremes, CONFIG.sequences)
    return session.render(ClipAddress(0, "uid", clip), window_s, frame, CONFIG)


def test_a_refusal_names_what_is_needed_and_its_log_is_of_this_asset_alone(
    session: BlenderSession, folder: Path
) -> None:
    for name in ("ACME_first", "ACME_second"):
        made = Gltf()
        made.node("cube", made.cube())
        made.doc["extensionsRequired"] = made.doc["extensionsUsed"] = [name]
        with pytest.raises(BlenderFault, match=f"needs the glTF extension {name}, which") as caught:
            session.open(made.save(folder / f"{name}.gltf"), "gltf", [])
    assert "ACME_second" in caught.value.log_tail
    assert "ACME_first" not in caught.value.log_tail


def test_time_is_seconds_exact_between_frames(session: BlenderSession, folder: Path) -> None:
    session.open(moving_cube(folder / "cube.gltf"), "gltf", [1.0, 0.5])
    times_s = [0.0, 1 / 24, 0.123, 0.5, 0.98765, 1.0]
    along = centres(session, 0, times_s)
    np.testing.assert_allclose(along, np.outer(times_s, [1, 0, 0]), atol=2e-6)


def test_clips_are_told_apart_by_index_even_with_equal_names(
    session: BlenderSession, folder: Path
) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    for distance in (1.0, 2.0, 3.0):
        gltf.animate("move", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, distance)])})
    opened = session.open(gltf.save(folder / "names.gltf"), "gltf", [1.0, 1.0, 1.0])
    assert len(opened.clips) == 3
    ends = [centres(session, clip, [1.0])[0, 2] for clip in (2, 0, 1)]
    np.testing.assert_allclose(ends, [3.0, 1.0, 2.0], atol=1e-5)


def test_a_clip_does_not_leak_into_the_next(session: BlenderSession, folder: Path) -> None:
    gltf = Gltf()
    body, prop = gltf.node("body", gltf.cube()), gltf.node("prop", gltf.cube(0.5), at=(2, 0, 0))
    gltf.animate("throw", {prop: ([0.0, 1.0], [(2, 0, 0), (9, 0, 0)])})
    gltf.animate("nod", {body: ([0.0, 1.0], [(0, 0, 0), (0, 0, 1)])})
    session.open(gltf.save(folder / "leak.gltf"), "gltf", [1.0, 1.0])
    alone = probe(session, 1, [0.0, 1.0])
    assert probe(session, 0, [1.0]).max() > 9
    np.testing.assert_array_equal(probe(session, 1, [0.0, 1.0]), alone)
    assert alone[0].max() < 2.5


def test_every_object_of_a_clip_moves(session: BlenderSession, folder: Path) -> None:
    gltf = Gltf()
    nodes = [gltf.node(f"part{i}", gltf.cube(0.5), at=(i, 0, 0)) for i in range(4)]
    moves = {node: ([0.0, 1.0], [(i, 0, 0), (i, 0, 1)]) for i, node in enumerate(nodes)}
    gltf.animate("rise", moves)
    session.open(gltf.save(folder / "parts.gltf"), "gltf", [1.0])
    start, stop = probe(session, 0, [0.0, 1.0])
    np.testing.assert_allclose(stop - start, np.tile([0, 0, 1], (len(start), 1)), atol=1e-5)


def test_collision_hulls_are_neither_measured_nor_seen(
    session: BlenderSession, folder: Path
) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.node("cube_collider", gltf.cube(5.0))
    gltf.node("UCX_hull", gltf.cube(6.0))
    gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (1, 0, 0)])})
    opened = session.open(gltf.save(folder / "hull.gltf"), "gltf", [1.0])
    assert opened.vertices == 24
    assert sum("collision mesh" in warning for warning in opened.warnings) == 2
    assert np.abs(probe(session, 0, [0.0])).max() == 0.5


def test_an_asset_of_nothing_but_a_hull_is_shown(session: BlenderSession, folder: Path) -> None:
    gltf = Gltf()
    node = gltf.node("thing_collision", gltf.cube())
    gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (1, 0, 0)])})
    assert session.open(gltf.save(folder / "only.gltf"), "gltf", [1.0]).vertices == 24


def test_no_bone_shape_is_measured(session: BlenderSession, folder: Path) -> None:
    """The importer adds a unit sphere to draw bones with; boxes must not see it."""
    gltf = Gltf()
    mesh = gltf.cube(0.01)
    for primitive in gltf.doc["meshes"][mesh]["primitives"]:
        joints = np.zeros((4, 4), "u1")
        weights = np.tile(np.array([1, 0, 0, 0], "<f4"), (4, 1))
        primitive["attributes"]["JOINTS_0"] = gltf.accessor(joints, "VEC4")
        primitive["attributes"]["WEIGHTS_0"] = gltf.accessor(weights, "VEC4")
    joint = gltf.node("joint")
    gltf.doc["skins"] = [{"joints": [joint]}]
    gltf.node("body", mesh, skin=0)
    gltf.animate("right", {joint: ([0.0, 1.0], [(0, 0, 0), (0.01, 0, 0)])})
    assert session.open(gltf.save(folder / "skin.gltf"), "gltf", [1.0]).vertices == 24
    points = probe(session, 0, [0.0, 1.0])
    np.testing.assert_allclose(np.abs(points[0]).max(), 0.005, atol=1e-7)
    np.testing.assert_allclose(points[1] - points[0], np.tile([0.01, 0, 0], (24, 1)), atol=1e-7)


def test_a_missing_texture_is_reported_and_not_painted_magenta(
    session: BlenderSession, folder: Path
) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.doc["images"] = [{"uri": "gone.png"}]
    gltf.doc["textures"] = [{"source": 0}]
    gltf.doc["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (1, 0, 0)])})
    opened = session.open(gltf.save(folder / "texture.gltf"), "gltf", [1.0])
    assert any("missing" in warning for warning in opened.warnings)
    frames = render(session, 0, (0.0, 1.0)).images["front"]
    red, green, blue = frames[frames[..., 3] == 255][:, :3].T.astype(int)
    assert not ((red > 200) & (green < 50) & (blue > 200)).any()  # Blender's sign for "missing"


@pytest.fixture(scope="module")
def rendered(session: BlenderSession, folder: Path) -> RenderedClip:
    session.open(moving_cube(folder / "seen.gltf"), "gltf", [1.0, 0.5])
    return render(session, 0, (0.0, 1.0))


def test_the_front_camera_sees_the_front_face_in_its_own_colour(rendered: RenderedClip) -> None:
    for image in rendered.images["front"]:
        colours = {tuple(rgba[:3]) for rgba in image[image[..., 3] == 255].tolist()}
        assert FACES["front"][1] in colours
        assert FACES["top"][1] in colours  # elevation 20: from above
        assert not {FACES["back"][1], FACES["bottom"][1]} & colours


def test_colours_come_out_as_they_went_in(rendered: RenderedClip) -> None:
    truth = np.array([srgb for _, srgb in FACES.values()])
    for frames in rendered.images.values():
        opaque = frames[frames[..., 3] == 255][:, :3].astype(int)
        error = np.abs(opaque[:, None] - truth).max(axis=-1).min(axis=-1)
        assert np.percentile(error, 90) <= 1  # edges between two faces mix


def test_orbit_walks_counter_clockwise_over_right_back_left(
    session: BlenderSession, folder: Path
) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.animate("tiny", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0.01)])})
    session.open(gltf.save(folder / "still.gltf"), "gltf", [1.0])
    orbit = render(session, 0, (0.0, 1.0)).images["orbit"]
    middle = [tuple(orbit[i, SIZE // 2 + 8, SIZE // 2, :3].tolist()) for i in (0, 2, 4, 6)]
    assert middle == [FACES[name][1] for name in ("front", "right", "back", "left")]


def test_projected_corners_bound_the_silhouette_in_every_image(
    session: BlenderSession, folder: Path
) -> None:
    session.open(moving_cube(folder / "bound.gltf"), "gltf", [1.0, 0.5])
    for clip, window_s in ((0, (0.1, 0.913)), (1, (0.0, 0.5))):
        times_s = sample_times(*window_s, 8)
        found = session.probe(clip, times_s, 10_000, 10_000)
        assert isinstance(found, Probe)
        frame = fit(found.extremes, CONFIG.sequences)
        shown = session.render(ClipAddress(0, "uid", clip), window_s, frame, CONFIG)
        world = (found.points + frame.offset) * frame.scale
        for name, views in shown.views.items():
            for i, pose in enumerate(views.poses(frame.distance)):
                pixels, _ = project(world[views.time_index[i]], shown.k, pose)
                rows, columns = np.nonzero(shown.images[name][i, ..., 3] > 127)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                expected = [*pixels.min(axis=0), *pixels.max(axis=0)]
                np.testing.assert_allclose(box, expected, atol=1.0, err_msg=f"{name} {i}")


def test_the_first_image_of_static_and_orbit_is_the_same(rendered: RenderedClip) -> None:
    static, orbit = rendered.images["static"], rendered.images["orbit"]
    np.testing.assert_array_equal(static[0], orbit[0])
    np.testing.assert_array_equal(static[0], rendered.images["front"][0])
    assert (static[4] != orbit[4]).any()


def test_same_job_same_bytes_alone_or_after_others(
    session: BlenderSession, folder: Path, rendered: RenderedClip
) -> None:
    with BlenderProcess(WorkerConfig(), [folder]) as fresh_process:
        fresh = BlenderSession(fresh_process, LimitConfig(threads=1))
        fresh.open(folder / "seen.gltf", "gltf", [1.0, 0.5])
        alone = render(fresh, 0, (0.0, 1.0))
    session.open(moving_cube(folder / "other.gltf"), "gltf", [1.0, 0.5])
    render(session, 1, (0.0, 0.5))
    session.open(folder / "seen.gltf", "gltf", [1.0, 0.5])
    after = render(session, 0, (0.0, 1.0))
    for name in alone.images:
        np.testing.assert_array_equal(alone.images[name], after.images[name])
        np.testing.assert_array_equal(alone.images[name], rendered.images[name])


def test_no_script_of_a_blend_file_runs(session: BlenderSession, folder: Path) -> None:
    """The script would write into Blender's own temporary folder, where the sandbox lets it."""
    path = folder / "script.blend"
    making = (
        "import bpy\n"
        "text = bpy.data.texts.new('autorun.py')\n"
        'text.write(\'import tempfile; open(tempfile.gettempdir() + "/ran", "w").close()\')\n'
        "text.use_module = True\n"
        f"bpy.ops.wm.save_as_mainfile(filepath={str(path)!r})\n"
    )
    subprocess.run([sys.executable, "-c", making], check=True, capture_output=True)
    session.open(path, "blend", None)
    assert not (session.process.scratch / "ran").exists()


def test_a_blend_files_own_render_settings_do_not_count(
    session: BlenderSession, folder: Path, rendered: RenderedClip
) -> None:
    """A .blend that asks for film output, half size, a look and the sequencer renders as ours."""
    path = folder / "settings.blend"
    making = (
        "import bpy\n"
        f"bpy.ops.import_scene.gltf(filepath={str(folder / 'seen.gltf')!r})\n"
        "for o in [o for o in bpy.data.objects if o.name in ('Cube', 'Light', 'Camera')]:\n"
        "    bpy.data.objects.remove(o)\n"
        "scene = bpy.context.scene\n"
        "r = scene.render\n"
        "if hasattr(r.image_settings, 'media_type'): r.image_settings.media_type = 'VIDEO'\n"
        "r.image_settings.file_format = 'FFMPEG'\n"
        "r.resolution_percentage, r.film_transparent, r.use_border = 50, False, True\n"
        "scene.view_settings.view_transform = 'AgX'\n"
        "scene.view_settings.exposure = 2.0\n"
        "r.fps, r.fps_base, r.use_motion_blur = 30, 1.001, True\n"
        "scene.cycles.use_denoising, scene.cycles.samples = True, 1\n"
        f"bpy.ops.wm.save_as_mainfile(filepath={str(path)!r})\n"
    )
    subprocess.run([sys.executable, "-c", making], check=True, capture_output=True)
    opened = session.open(path, "blend", None)
    names = [clip.name.removesuffix("_cube") for clip in opened.clips]  # so before Blender 4.4
    assert names == ["lift", "right"]  # actions, by name
    shown = render(session, 1, (0.0, 1001 / 30 / 1000 * 24))
    assert shown.images["front"].shape == (8, SIZE, SIZE, 4)
    corner = shown.images["orbit"][:, 0, 0]
    assert not corner.any()  # transparent film
    np.testing.assert_array_equal(shown.images["static"][0], rendered.images["static"][0])


def test_a_crash_between_clips_reopens_the_asset(session: BlenderSession, folder: Path) -> None:
    session.open(moving_cube(folder / "again.gltf"), "gltf", [1.0, 0.5])
    before = probe(session, 1, [0.25])
    session.process.kill()
    np.testing.assert_array_equal(probe(session, 1, [0.25]), before)


def test_a_process_that_dies_between_two_requests_is_a_fault_of_the_machine_not_of_the_clip(
    folder: Path,
) -> None:
    class Dying(BlenderProcess):
        """Is killed right after it was seen alive, as often as told."""

        left = 0

        def is_running(self) -> bool:
            found = super().is_running()
            if found and self.left:
                self.left -= 1
                assert self._process is not None
                self._process.kill()
                self._process.wait()
            return found

    with Dying(WorkerConfig(), [folder]) as process:
        session = BlenderSession(process, LimitConfig())
        session.open(moving_cube(folder / "dying.gltf"), "gltf", [1.0, 0.5])
        whole = probe(session, 0, [0.5])
        process.left = 1
        with pytest.raises(BlenderFault, match="ended by signal SIGKILL during probe") as caught:
            probe(session, 0, [0.5])
        assert caught.value.of_machine
        np.testing.assert_array_equal(probe(session, 0, [0.5]), whole)  # opened anew
