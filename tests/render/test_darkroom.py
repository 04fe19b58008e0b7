"""Images are developed while Blender renders, from the part of the frame that it rendered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.paths import SequenceConfig, fit, image_times
from render.runner import BlenderFault, BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe, RenderedClip
from shards.sample import Frames
from shards.seeding import ClipAddress
from tests.render.make_gltf import moving_cube

pytestmark = pytest.mark.blender
CONFIG = RenderConfig(
    sequences=SequenceConfig(names=("static", "orbit", "front"), frames=4, width=64, height=48),
    engine=EngineConfig(quality="draft"),
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlenderSession]:
    folder = tmp_path_factory.mktemp("gltf")
    moving_cube(folder / "cube.gltf")
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


def render(session: BlenderSession, config: RenderConfig = CONFIG, **settings: Any) -> RenderedClip:
    path = Path(session.process.readable[0]) / "cube.gltf"
    session.open(path, "gltf", [1.0, 0.5])
    found = session.probe(0, image_times(0.0, 1.0, config.sequences), 1000, 1000)
    assert isinstance(found, Probe)
    frame = fit(found.extremes, config.sequences)
    return session.render(ClipAddress(0, "u", 0), (0.0, 1.0), frame, config, **settings)


@pytest.mark.parametrize(
    "engine",
    [
        EngineConfig(quality="draft"),
        EngineConfig(quality="standard"),
        EngineConfig(quality="draft", filter_width_px=0.01),
        EngineConfig(samples=2),  # filtered by Blender
    ],
)
def test_the_part_that_is_rendered_is_all_of_the_picture(
    session: BlenderSession, monkeypatch: pytest.MonkeyPatch, engine: EngineConfig
) -> None:
    config = CONFIG.model_copy(update={"engine": engine})
    parts: list[list[int]] = []
    call = BlenderProcess.call

    def noted(
        self: BlenderProcess,
        request: dict[str, Any],
        timeout_s: float,
        on_event: Any = None,
        **more: Any,
    ) -> Any:
        def on_noted(event: dict[str, Any]) -> None:
            parts.append(event["part"])
            on_event(event)

        return call(self, request, timeout_s, on_noted, **more)

    def whole(
        self: BlenderProcess,
        request: dict[str, Any],
        timeout_s: float,
        on_event: Any = None,
        **more: Any,
    ) -> Any:
        return call(self, request | {"margin": None}, timeout_s, on_event, **more)

    monkeypatch.setattr(BlenderProcess, "call", noted)
    some = render(session, config)
    monkeypatch.setattr(BlenderProcess, "call", whole)
    every = render(session, config)

    fine = engine.supersampling
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in parts]
    assert max(areas) < 0.8 * 64 * 48 * fine**2
    for name, images in every.images.items():
        assert images[..., 3].max() > 0
        np.testing.assert_array_equal(some.images[name], images, err_msg=name)


def test_what_lies_outside_of_the_geometry_is_seen_beyond_doubt() -> None:
    from render.session import _picture

    for engine in (EngineConfig(), EngineConfig(filter_width_px=3.0), EngineConfig(samples=1)):
        config = RenderConfig(engine=engine)
        margin = _picture(config)["margin"] / engine.supersampling
        assert margin >= config.qa.outside_max_px + engine.filter_width_px + 1
    assert _picture(RenderConfig(engine=EngineConfig(denoiser=True)))["margin"] is None
    assert _picture(RenderConfig(engine=EngineConfig(engine="workbench")))["margin"] is None


def test_a_sequence_is_handed_on_as_soon_as_it_is_whole(session: BlenderSession) -> None:
    handed: dict[str, Frames] = {}
    whole: list[set[str]] = []

    def on_sequence(name: str, images: Frames) -> None:
        handed[name] = images.copy()
        folder = next(session.process.scratch.glob("tmp*"))
        whole.append({file.name for file in folder.glob("*.exr")})

    clip = render(session, on_sequence=on_sequence)
    assert next(iter(handed)) == "static"
    assert not any(file.startswith("00000") for files in whole for file in files)  # taken at once
    assert list(clip.images) == ["static", "orbit", "front"]
    for name, images in clip.images.items():
        np.testing.assert_array_equal(handed[name], images)


def test_the_time_limit_holds_while_images_keep_coming(session: BlenderSession) -> None:
    hasty = BlenderSession(session.process, LimitConfig(render_timeout_s=0.005))
    with pytest.raises(BlenderFault, match=r"render took longer than 0\.005 s; killed") as caught:
        render(hasty)
    assert caught.value.kind == "timeout"


def test_a_fault_of_the_host_leaves_no_answer_behind(session: BlenderSession) -> None:
    def on_sequence(name: str, images: Frames) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        render(session, on_sequence=on_sequence)
    assert render(session).images["orbit"].shape == (4, 48, 64, 4)
