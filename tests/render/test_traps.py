"""Times, settings and references of other formats, where tools are known to go wrong.

Files are made by Blender itself, so each test holds for the version that runs it.
"""

import contextlib
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import pytest

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.paths import SequenceConfig, fit, sample_times
from render.runner import BlenderFault, BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe, RenderedClip
from shards.sample import motion_magnitude
from shards.seeding import ClipAddress
from tests.render.make_gltf import Gltf, moving_cube

pytestmark = pytest.mark.blender
CONFIG = RenderConfig(
    sequences=SequenceConfig(frames=3, width=32, height=32, names=("orbit", "front")),
    engine=EngineConfig(samples=1, filter_width_px=0.01),
)
# A cube whose x is keyed at two frames; FRAMES, PLACES and what follows are filled in.
CUBE = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add(size=1)
cube = bpy.context.object
scene = bpy.context.scene
def key(frames, places):
    for frame, place in zip(frames, places):
        cube.location.x = place
        cube.keyframe_insert("location", index=0, frame=frame)
    data = cube.animation_data
    action = data.action
    if hasattr(action, "fcurves"):
        curves = action.fcurves
    else:
        curves = action.layers[0].strips[0].channelbag(data.action_slot).fcurves
    for curve in curves:
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"
    return action
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traps")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[BlenderSession]:
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


def make(path: Path, code: str) -> Path:
    """Run code after ``CUBE`` in a Blender of its own, and save or export to ``path``."""
    target = repr(str(path))
    if path.suffix == ".blend":
        code += f"\nbpy.ops.wm.save_as_mainfile(filepath={target})"
    else:
        code += f"\nbpy.ops.export_scene.fbx(filepath={target}, bake_anim_simplify_factor=0)"
    done = subprocess.run([sys.executable, "-c", CUBE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert path.exists(), done.stderr[-2000:]
    return path


def along_x(session: BlenderSession, clip: int, times_s: list[float]) -> np.ndarray:
    found = session.probe(clip, np.array(times_s), 10_000, 10_000)
    assert isinstance(found, Probe)
    return found.points.mean(axis=1)[:, 0]


def render(session: BlenderSession, clip: int, window_s: tuple[float, float]) -> RenderedClip:
    times_s = sample_times(*window_s, CONFIG.sequences.frames)
    found = session.probe(clip, times_s, 10_000, 10_000)
    assert isinstance(found, Probe)
    frame = fit(found.extremes, CONFIG.sequences)
    return session.render(ClipAddress(0, "uid", clip), window_s, frame, CONFIG)


@pytest.mark.parametrize(
    ("fps", "fps_base", "frames"),
    [
        (24, 1.0, (0, 24)),
        (24, 1.0, (1, 25)),
        (24, 1.0, (-10, 14)),  # before the scene begins
        (24, 1.0, (0, 12.5)),  # ends between two frames
        (24, 1.0, (2.25, 14.5)),
        (30, 1.001, (0, 30)),  # 29.97 frames a second
        (60, 2.0, (5, 65)),
    ],
)
def test_a_blend_clip_runs_from_its_first_key_to_its_last_in_seconds(
    session: BlenderSession, folder: Path, fps: int, fps_base: float, frames: tuple[float, float]
) -> None:
    name = f"{fps}-{fps_base}-{frames[0]}-{frames[1]}.blend"
    code = f"scene.render.fps, scene.render.fps_base = {fps}, {fps_base}\n"
    code += "scene.frame_start, scene.frame_end = 1, 5\n"  # the scene's own range is no clip's
    opened = session.open(make(folder / name, f"{code}key({frames}, (0, 4))"), "blend", None)
    duration_s = (frames[1] - frames[0]) * fps_base / fps
    assert [clip.duration_s for clip in opened.clips] == [pytest.approx(duration_s, abs=1e-6)]
    shares = [0.0, 0.3, 0.77, 1.0]
    times_s = [share * duration_s for share in shares]
    np.testing.assert_allclose(along_x(session, 0, times_s), np.multiply(shares, 4), atol=1e-4)


def test_clips_of_the_nla_begin_at_their_own_first_key(
    session: BlenderSession, folder: Path
) -> None:
    """Strips stand anywhere on the timeline, stretched and repeated; the action is the clip."""
    code = """
cube.animation_data_create()
for name, start, frames, places in (("go", 1, (0, 24), (0, 2)), ("jump", 40, (8, 20), (5, 7))):
    action = key(frames, places)
    action.name = name
    track = cube.animation_data.nla_tracks.new()
    strip = track.strips.new(name, start, action)
    strip.scale, strip.repeat = 2.0, 3.0
    cube.animation_data.action = None
"""
    opened = session.open(make(folder / "nla.blend", code), "blend", None)
    found = {clip.name: clip.duration_s for clip in opened.clips}
    assert found == {"go": pytest.approx(1.0), "jump": pytest.approx(0.5)}
    order = [clip.name for clip in opened.clips]
    for name, low in (("go", 0), ("jump", 5), ("go", 0)):
        index = order.index(name)
        times_s = [0.0, found[name] / 2, found[name]]
        expected = [low, low + 1, low + 2]
        np.testing.assert_allclose(along_x(session, index, times_s), expected, atol=1e-4)


@pytest.mark.parametrize("first", [0, 1, 10])
def test_an_fbx_clip_begins_with_its_first_key(
    session: BlenderSession, folder: Path, first: int
) -> None:
    code = f"key(({first}, {first + 24}), (0, 4))\n"
    code += f"scene.frame_start, scene.frame_end = {first}, {first + 24}"
    opened = session.open(make(folder / f"from-{first}.fbx", code), "fbx", None)
    assert [clip.duration_s for clip in opened.clips] == [pytest.approx(1.0, abs=1e-3)]
    along = along_x(session, 0, [0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(along / along[-1], [0, 0.25, 0.5, 1], atol=1e-3)


USDA = """#usda 1.0
(
    defaultPrim = "World"
    startTimeCode = 10
    endTimeCode = 40
    timeCodesPerSecond = 30
    metersPerUnit = 1
    upAxis = "Z"
)
def Xform "World"
{
    def Xform "Part"
    {
        double3 xformOp:translate.timeSamples = { 10: (0, 0, 0), 40: (3, 0, 0) }
        uniform token[] xformOpOrder = ["xformOp:translate"]
        def Mesh "M"
        {
            int[] faceVertexCounts = [3]
            int[] faceVertexIndices = [0, 1, 2]
            point3f[] points.timeSamples = {
                10: [(0, 0, 0), (1, 0, 0), (0, 0, 1)],
                40: [(0, 0, 0), (1, 0, 0), (0, 0, 3)],
            }
        }
    }
}
"""


@pytest.mark.skipif(version("bpy") < "4.4", reason="this Blender has no USD library for Python")
@pytest.mark.parametrize(
    ("rate", "duration_s"),
    [
        ("timeCodesPerSecond = 30", 1.0),
        ("timeCodesPerSecond = 29.97", 30 / 29.97),
        ("timeCodesPerSecond = 60\n framesPerSecond = 30", 0.5),
        ("framesPerSecond = 15", 2.0),
        ("", 1.25),  # 24
    ],
)
def test_caches_of_a_usd_stage_play_in_seconds_and_between_frames(
    session: BlenderSession, folder: Path, rate: str, duration_s: float
) -> None:
    """Time samples become constraints and modifiers that read the file, and no action."""
    path = folder / f"cache-{duration_s:.3f}.usda"
    path.write_text(USDA.replace("timeCodesPerSecond = 30", rate))
    (clip,) = session.open(path, "usda", None).clips
    assert clip.duration_s == pytest.approx(duration_s, abs=1e-5)
    shares = np.array([0.0, 0.31, 0.5, 1.0])
    found = session.probe(0, shares * clip.duration_s, 100, 100)
    assert isinstance(found, Probe)
    np.testing.assert_allclose(found.points[:, 0, 0], 3 * shares, atol=1e-3)
    np.testing.assert_allclose(found.points[:, 2, 2], 1 + 2 * shares, atol=1e-3)


OWN_SETTINGS = """
key((0, 24), (0, 1))
material = bpy.data.materials.new("plain")
material.use_nodes = True
cube.data.materials.append(material)
scene.render.fps, scene.render.fps_base = 24, 1.0
"""
ODD_SETTINGS = """
r = scene.render
if hasattr(r.image_settings, "media_type"):
    r.image_settings.media_type = "VIDEO"
r.image_settings.file_format = "FFMPEG"
r.resolution_x, r.resolution_y, r.resolution_percentage = 333, 111, 17
r.pixel_aspect_x, r.use_border, r.use_crop_to_border, r.border_max_x = 2.0, True, True, 0.4
r.film_transparent, r.use_stamp, r.use_simplify = False, True, True
r.simplify_subdivision_render, r.dither_intensity = 0, 2.0
r.use_motion_blur, r.use_multiview, r.frame_map_new = True, True, 50
r.engine = "BLENDER_WORKBENCH"
scene.frame_step, scene.frame_start, scene.frame_end = 7, 3, 5
scene.view_settings.view_transform = "AgX"
scene.view_settings.exposure, scene.view_settings.gamma = 3.0, 2.0
scene.cycles.samples, scene.cycles.film_exposure, scene.cycles.max_bounces = 2, 5.0, 0
scene.cycles.use_adaptive_sampling, scene.cycles.time_limit = True, 0.001
world = scene.world = bpy.data.worlds.new("sky")
world.use_nodes = True
paint = next(n for n in world.node_tree.nodes if n.type == "BACKGROUND")
paint.inputs[0].default_value = 1, 0, 0, 1
camera = bpy.data.objects.new("own", bpy.data.cameras.new("own"))
scene.collection.objects.link(camera)
scene.camera = camera
marker = scene.timeline_markers.new("cut", frame=0)
marker.camera = camera
sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
sun.data.energy = 1000
scene.collection.objects.link(sun)
r.use_compositing = r.use_sequencer = True
if hasattr(scene, "compositing_node_group"):
    tree = bpy.data.node_groups.new("paint", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    scene.compositing_node_group = tree
    out = tree.nodes.new("NodeGroupOutput")
else:
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    out = tree.nodes.new("CompositorNodeComposite")
red = tree.nodes.new("CompositorNodeRGB")
red.outputs[0].default_value = 1, 0, 0, 1
tree.links.new(red.outputs[0], out.inputs[0])
editor = scene.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
if hasattr(bpy.types, "ColorStrip") or hasattr(bpy.types, "ColorSequence"):
    try:
        strips.new_effect("red", "COLOR", 1, 1, frame_end=100)
    except TypeError:
        strips.new_effect("red", "COLOR", 1, 1, length=100)
"""


def test_nothing_that_a_blend_sets_for_its_own_render_counts(
    session: BlenderSession, folder: Path
) -> None:
    """Film output, sizes, looks, lights, cameras bound to markers, compositor, sequencer."""
    images = []
    for name, code in (("plain", OWN_SETTINGS), ("odd", OWN_SETTINGS + ODD_SETTINGS)):
        session.open(make(folder / f"{name}.blend", code), "blend", None)
        images.append(render(session, 0, (0.0, 1.0)).images)
    plain, odd = images
    for name in plain:
        assert plain[name][..., 3].any()
        np.testing.assert_array_equal(odd[name], plain[name], err_msg=name)


def test_pictures_of_a_blend_outside_its_folder_are_not_read(
    session: BlenderSession, folder: Path
) -> None:
    """Not even where the sandbox would allow it: the folder beside is an input as well."""
    inner = folder / "inner"
    inner.mkdir()
    code = f"""
for name in ("{folder}/secret.png", "{inner}/own.png"):
    picture = bpy.data.images.new(name, 4, 4)
    picture.filepath_raw, picture.file_format = name, "PNG"
    picture.save()
key((0, 24), (0, 1))
for i, name in enumerate(("{folder}/secret.png", "//../secret.png", "//own.png", "//gone.png")):
    material = bpy.data.materials.new(str(i))
    material.use_nodes = True
    image = bpy.data.images.load("{folder}/secret.png", check_existing=False)
    image.name, image.filepath = f"image {{i}}", name
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    shader = material.node_tree.nodes["Principled BSDF"]
    material.node_tree.links.new(node.outputs[0], shader.inputs["Base Color"])
    cube.data.materials.append(material)
"""
    opened = session.open(make(inner / "pictures.blend", code), "blend", None)
    said = {text.split("'")[1]: text for text in opened.warnings}
    assert said.keys() == {"image 0", "image 1", "image 3"}
    assert "outside" in said["image 0"]
    assert "outside" in said["image 1"]
    assert "missing" in said["image 3"]


def test_a_library_outside_the_folder_of_a_blend_is_refused(
    session: BlenderSession, folder: Path
) -> None:
    library = make(folder / "library.blend", "key((0, 24), (0, 1))")
    inner = folder / "linking"
    inner.mkdir()
    code = f"""
key((0, 24), (0, 1))
with bpy.data.libraries.load({str(library)!r}, link=True, relative=False) as (there, here):
    here.objects = there.objects
scene.collection.objects.link(here.objects[0])
"""
    with pytest.raises(BlenderFault, match="lies outside the asset's folder"):
        session.open(make(inner / "links.blend", code), "blend", None)
    beside = make(folder / "beside.blend", code)
    assert session.open(beside, "blend", None).vertices == 16


def test_what_stands_still_has_no_motion_magnitude(session: BlenderSession, folder: Path) -> None:
    """One draw of lights, one pose: nothing but time may tell orbit from static."""
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.animate("rest", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0)])})
    session.open(gltf.save(folder / "rest.gltf"), "gltf", [1.0])
    config = CONFIG.model_copy(
        update={"sequences": CONFIG.sequences.model_copy(update={"names": ("orbit", "static")})}
    )
    times_s = sample_times(0.0, 1.0, CONFIG.sequences.frames)
    found = session.probe(0, times_s, 10_000, 10_000)
    assert isinstance(found, Probe)
    frame = fit(found.extremes, config.sequences)
    images = session.render(ClipAddress(0, "uid", 0), (0.0, 1.0), frame, config).images
    assert motion_magnitude(images["orbit"], images["static"]).pixel_sum == 0


def bomb() -> bytes:
    """A PNG of 320 million pixels in 300 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 20_000, 16_000, 8, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(20_001)) for _ in range(16_000)) + rows.flush()
    parts = [(b"IHDR", head), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("packed", [True, False])
def test_a_picture_that_explodes_is_refused_before_it_is_decoded(
    session: BlenderSession, folder: Path, packed: bool
) -> None:
    """The gate sees no pictures inside .blend and FBX files; Blender itself has to ask."""
    inner = folder / f"bomb-{packed}"
    inner.mkdir()
    (inner / "bomb.png").write_bytes(bomb())
    code = f"""
key((0, 24), (0, 1))
material = bpy.data.materials.new("bomb")
material.use_nodes = True
image = bpy.data.images.load({str(inner / "bomb.png")!r})
image.use_fake_user = True
if {packed}:
    image.pack()
image.filepath = "//bomb.png"
cube.data.materials.append(material)
"""
    path = make(inner / "bomb.blend", code)
    if packed:
        (inner / "bomb.png").unlink()
    assert session.process.pid is not None
    process = psutil.Process(session.process.pid)
    before = process.memory_info().rss
    with pytest.raises(BlenderFault, match=r"is 20000 x 16000 pixels, the limit is") as caught:
        session.open(path, "blend", None)
    assert caught.value.kind == "images"
    assert process.memory_info().rss - before < 100 * 2**20


def test_nothing_is_fetched(session: BlenderSession, folder: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        gltf = Gltf()
        node = gltf.node("cube", gltf.cube())
        gltf.doc["images"] = [{"uri": address + "skin.png"}]
        gltf.doc["textures"] = [{"source": 0}]
        gltf.doc["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (1, 0, 0)])})
        opened = session.open(gltf.save(folder / "web.gltf"), "gltf", [1.0])
        assert len(opened.warnings) == 1
        stage = folder / "web.usda"
        stage.write_text(USDA.replace("(", f"(\n subLayers = [@{address}layer.usda@]\n", 1))
        render(session, 0, (0.0, 1.0))
        with contextlib.suppress(BlenderFault):
            session.open(stage, "usda", None)
        server.shutdown()
    assert asked == []


def test_many_assets_leave_nothing_behind(session: BlenderSession, folder: Path) -> None:
    """Deleted objects leave meshes, actions and images; only an empty start gets rid of them."""
    path = moving_cube(folder / "again.gltf")
    sizes = []
    for _ in range(3):
        for _ in range(12):
            session.open(path, "gltf", [1.0, 0.5])
        assert session.process.pid is not None
        sizes.append(psutil.Process(session.process.pid).memory_info().rss / 2**20)
    assert session.process.started == 1
    assert sizes[2] - sizes[1] < 10, sizes
