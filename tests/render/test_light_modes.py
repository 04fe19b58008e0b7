"""Whatever lights the object: its own colours stay, white stays white, nothing burns out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.lights import LightConfig, SkyConfig
from render.paths import CameraConfig, SequenceConfig, fit, sample_times
from render.runner import BlenderFault, BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe
from shards.sample import Frames
from shards.seeding import ClipAddress
from tests.render.make_gltf import Gltf, to_gltf

pytestmark = pytest.mark.blender

SEQUENCES = SequenceConfig(
    names=("orbit",), frames=4, width=32, height=32, camera=CameraConfig(elevation_deg=20)
)
FACES = {
    "front": ((0, -1, 0), (255, 128, 1)),
    "back": ((0, 1, 0), (10, 200, 90)),
    "right": ((1, 0, 0), (250, 250, 250)),
    "left": ((-1, 0, 0), (77, 33, 180)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gltf")


@pytest.fixture(scope="module")
def modes(folder: Path) -> dict[str, LightConfig]:
    bright = np.full((32, 64, 3), 0.2)
    bright[10:14, 30:34] = 80.0  # a sun in the middle of the image, above the horizon
    sky = SkyConfig(file=write_hdr(folder / "sky.hdr", bright * 7.0), azimuth_range_deg=(0, 0))
    return {
        "suns": LightConfig(),
        "diffusion4d": LightConfig(sun_set="diffusion4d", ambient=0.05),
        "studio": LightConfig(mode="studio"),
        "sky": LightConfig(mode="hdri"),
        "file": LightConfig(mode="hdri", sky=sky),
    }


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[BlenderSession]:
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


def write_hdr(path: Path, pixels: np.ndarray) -> Path:
    """Write linear RGB (h, w, 3) as a flat Radiance picture, first row on top."""
    height, width, _ = pixels.shape
    power = np.ceil(np.log2(pixels.max(axis=-1, keepdims=True)))
    shared = np.concatenate([pixels * 256 / 2**power, power + 128], axis=-1)
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    path.write_bytes(head.encode() + np.clip(shared, 0, 255).astype("u1").tobytes())
    return path


def white_sphere(path: Path, size: float = 1.0, travel: float = 0.01) -> Path:
    """Write a matt white ball that moves to the right."""
    gltf = Gltf()
    polar, around = np.meshgrid(np.linspace(0, np.pi, 33), np.linspace(0, 2 * np.pi, 65))
    ball = [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)]
    points = np.array([to_gltf(point) for point in np.stack(ball, -1).reshape(-1, 3)], "<f4")
    corner = (np.arange(64)[:, None] * 33 + np.arange(32)).reshape(-1, 1)
    quads = corner + np.array([0, 1, 33, 33, 1, 34])
    white = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 1}
    gltf.doc["materials"].append({"pbrMetallicRoughness": white})
    attributes = {
        "POSITION": gltf.accessor(points * np.float32(size), "VEC3"),
        "NORMAL": gltf.accessor(points, "VEC3"),
    }
    indices = gltf.accessor(quads.reshape(-1).astype("<u2"), "SCALAR")
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": 0}
    gltf.doc["meshes"].append({"primitives": [primitive]})
    node = gltf.node("ball", 0)
    gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (travel * size, 0, 0)])})
    return gltf.save(path)


def render(
    session: BlenderSession,
    lights: LightConfig,
    samples: int,
    sequences: SequenceConfig = SEQUENCES,
) -> Frames:
    found = session.probe(0, sample_times(0.0, 1.0, sequences.frames), 10_000, 10_000)
    assert isinstance(found, Probe)
    engine = EngineConfig(samples=samples, filter_width_px=0.01)
    settings = RenderConfig(sequences=sequences, engine=engine, lights=lights)
    frame = fit(found.extremes, sequences)
    clip = session.render(ClipAddress(0, "uid", 0), (0.0, 1.0), frame, settings)
    return clip.images[sequences.names[0]]


@pytest.mark.parametrize("mode", ["suns", "diffusion4d", "studio", "sky", "file"])
def test_colours_of_their_own_come_out_in_any_light(
    session: BlenderSession, folder: Path, modes: dict[str, LightConfig], mode: str
) -> None:
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube(1.0, FACES))
    gltf.animate("tiny", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0.01)])})
    session.open(gltf.save(folder / "own.gltf"), "gltf", [1.0])
    frames = render(session, modes[mode], samples=1)
    for image, name in zip(frames, ("front", "right", "back", "left"), strict=True):
        middle = image[17:22, 13:19].reshape(-1, 4).astype(int)
        assert np.abs(middle - [*FACES[name][1], 255]).max() <= 1
        assert not image[0, 0].any()  # the sky is not in the picture


@pytest.mark.parametrize("mode", ["suns", "diffusion4d", "studio", "sky", "file"])
def test_white_is_bright_and_not_blown_out_in_any_light(
    session: BlenderSession, folder: Path, modes: dict[str, LightConfig], mode: str
) -> None:
    session.open(white_sphere(folder / "white.gltf"), "gltf", [1.0])
    frames = render(session, modes[mode], samples=64)
    lit = frames[frames[..., 3] == 255][:, :3].mean(axis=-1) / 255
    assert 0.6 <= np.percentile(lit, 90) <= 0.96
    assert np.percentile(lit, 50) >= 0.4
    assert (frames[frames[..., 3] == 255][:, :3].max(axis=-1) == 255).mean() < 0.002


def test_an_environment_image_stands_where_it_is_told(
    session: BlenderSession, folder: Path, modes: dict[str, LightConfig]
) -> None:
    session.open(white_sphere(folder / "turned.gltf"), "gltf", [1.0])
    for azimuth, brightest in ((0.0, 0), (90.0, 1)):
        sky = modes["file"].sky.model_copy(update={"azimuth_range_deg": (azimuth, azimuth)})
        frames = render(session, LightConfig(mode="hdri", sky=sky), samples=8)
        light = [image[image[..., 3] == 255][:, :3].mean() for image in frames]
        assert int(np.argmax(light)) == brightest


def test_the_sun_of_a_made_sky_stands_where_the_sample_says(
    session: BlenderSession, folder: Path
) -> None:
    session.open(white_sphere(folder / "sun.gltf"), "gltf", [1.0])
    sky = SkyConfig(sun_share=0.0, azimuth_range_deg=(90, 90), sun_elevation_range_deg=(30, 30))
    frames = render(session, LightConfig(mode="hdri", sky=sky), samples=16)
    light = [image[image[..., 3] == 255][:, :3].mean() for image in frames]
    assert int(np.argmax(light)) == 1  # the view from the right: the glow is around the sun


def test_studio_lights_grow_with_the_asset(session: BlenderSession, folder: Path) -> None:
    shown = []
    for size in (0.01, 300.0):
        session.open(white_sphere(folder / f"size{size}.gltf", size), "gltf", [1.0])
        shown.append(render(session, LightConfig(mode="studio"), samples=32).astype(int))
    assert np.abs(shown[1] - shown[0]).mean() < 1.0


def test_studio_lights_go_along_with_what_is_followed(
    session: BlenderSession, folder: Path
) -> None:
    session.open(white_sphere(folder / "travel.gltf", travel=12.0), "gltf", [1.0])
    along = SEQUENCES.model_copy(update={"names": ("front",), "root_motion": "follow"})
    frames = render(session, LightConfig(mode="studio"), 32, along).astype(int)
    for frame in frames[1:]:
        assert np.abs(frame - frames[0]).mean() < 1.0


def test_a_light_file_that_holds_no_image_is_an_error_and_not_a_dark_clip(
    session: BlenderSession, folder: Path
) -> None:
    session.open(white_sphere(folder / "dark.gltf"), "gltf", [1.0])
    broken = folder / "broken.hdr"
    broken.write_bytes(b"#?RADIANCE\nnothing")
    with pytest.raises(BlenderFault, match="no image could be read"):
        render(session, LightConfig(mode="hdri", sky=SkyConfig(file=broken)), samples=1)
