"""Engines and devices: what is asked for is used, or the reason is said."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from render.config import EngineConfig, LimitConfig, RenderConfig
from render.paths import SequenceConfig, fit, image_times
from render.runner import BlenderFault, BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe, RenderedClip
from shards.seeding import ClipAddress
from tests.render.make_gltf import moving_cube


@pytest.mark.parametrize("quality", ["draft", "standard", "final"])
def test_quality_sets_samples_at_both_filters(quality: str) -> None:
    soft = EngineConfig.model_validate({"quality": quality})
    point = EngineConfig.model_validate({"quality": quality, "filter_width_px": 0.01})
    assert (soft.supersampling, point.supersampling) == (2, 1)
    assert soft.request()["samples"] * soft.supersampling**2 == soft.samples_per_pixel
    assert soft.request()["light_tree"] == (quality == "draft")  # too few to go round the suns
    assert point.request()["samples"] == point.samples_per_pixel
    assert soft.coverage_rays > 0 == point.coverage_rays
    assert soft.request()["filter_width_px"] is None
    assert point.request()["filter_width_px"] == 0.01


def test_own_samples_go_before_quality() -> None:
    assert EngineConfig(samples=40).request()["samples"] == 10
    assert EngineConfig(samples=1).supersampling == 1
    assert EngineConfig(samples=64, denoiser=True).supersampling == 1  # it wants plain pixels


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlenderSession]:
    folder = tmp_path_factory.mktemp("gltf")
    moving_cube(folder / "cube.gltf")
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


def render(session: BlenderSession, engine: EngineConfig) -> RenderedClip:
    config = RenderConfig(
        sequences=SequenceConfig(names=("front",), frames=2, width=48, height=48), engine=engine
    )
    path = Path(session.process.readable[0]) / "cube.gltf"
    session.open(path, "gltf", [1.0, 0.5])
    times_s = image_times(0.0, 1.0, config.sequences)
    found = session.probe(0, times_s, 1000, 1000)
    assert isinstance(found, Probe)
    frame = fit(found.extremes, config.sequences)
    return session.render(ClipAddress(0, "u", 0), (0.0, 1.0), frame, config)


@pytest.mark.blender
def test_a_missing_gpu_is_replaced_by_the_cpu_with_a_reason(session: BlenderSession) -> None:
    clip = render(session, EngineConfig(samples=1, device="gpu"))
    if not clip.device.startswith("cpu"):
        pytest.skip(f"this machine renders on {clip.device}")
    assert clip.device.startswith("cpu; 'gpu' was asked for, but ")
    assert "optix" in clip.device
    assert "cuda" in clip.device
    assert any("was asked for" in warning for warning in clip.passes.warnings)
    assert (clip.images["front"][..., 3] > 0).any()


@pytest.mark.blender
@pytest.mark.parametrize(
    # EEVEE compiles its shaders for minutes on a software GL driver.
    "engine",
    ["workbench", pytest.param("eevee", marks=pytest.mark.gpu)],
)
def test_raster_engines_draw_the_same_silhouette(session: BlenderSession, engine: str) -> None:
    exact = render(session, EngineConfig(quality="draft"))
    try:
        with BlenderProcess(WorkerConfig(), [Path(session.process.readable[0])]) as process:
            other = BlenderSession(process, LimitConfig(render_timeout_s=100))
            drawn = render(other, EngineConfig.model_validate({"engine": engine, "samples": 8}))
    except BlenderFault as fault:
        pytest.skip(f"no GL context for {engine}: {fault}")
    share = (drawn.images["front"][..., 3] > 127) != (exact.images["front"][..., 3] > 127)
    assert share.mean() < 0.03


@pytest.mark.blender
def test_the_same_job_gives_the_same_bytes_alone_or_after_others(session: BlenderSession) -> None:
    engine = EngineConfig(quality="draft")
    first = render(session, engine)
    render(session, EngineConfig(samples=1, filter_width_px=0.01, denoiser=True))
    again = render(session, engine)
    with BlenderProcess(WorkerConfig(), [Path(session.process.readable[0])]) as process:
        limits = LimitConfig(threads=1)
        alone = render(BlenderSession(process, limits), engine)
    for other in (again, alone):
        np.testing.assert_array_equal(first.images["front"], other.images["front"])


@pytest.mark.blender
def test_a_worker_on_one_thread_keeps_one_core_busy(session: BlenderSession) -> None:
    """Blender's task threads spin while they wait, so there must be no more than were asked for."""
    folder = Path(session.process.readable[0])
    cores = len(os.sched_getaffinity(0))
    counts = {}
    for threads in (1, 0):
        with BlenderProcess(WorkerConfig(), [folder], threads) as process:
            render(BlenderSession(process, LimitConfig(threads=threads)), EngineConfig(samples=1))
            assert process.pid is not None
            tasks = Path(f"/proc/{process.pid}/task").iterdir()
            counts[threads] = sum(1 for _ in tasks)
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                assert len(os.sched_getaffinity(int(task.name))) == cores
    if cores > 1:
        assert counts[1] < counts[0]
