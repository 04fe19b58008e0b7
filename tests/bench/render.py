"""What an image costs and how exact it is, beside the settings of Diffusion4D's script.

Run ``python -m tests.bench.render [--assets DIR] [--count N] [--truth DIR] [--only PART]``.
Parts:

- ``images``: seconds per image and PSNR on white against 2048 samples, at the script's lights and
  point sampling (0.01 px), and at the default look (1.5 px). The script's settings are 128 samples,
  denoised, scene data built anew for each image. ``--truth`` keeps the 2048-sample images.
- ``assets``: seconds per whole asset in a build, per quality, and with all passes. What scoring the
  clips costs that are not rendered stands apart.
- ``lights``: samples and the denoiser in each light mode, default look, against 512 samples.
- ``workers``: two Ray workers on two cores beside one on one core.
- ``growth``: what a worker grows by over 200 assets.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from curate import ledger
from curate.inspect import inspect_file
from curate.presets import preset
from render.config import EngineConfig, LimitConfig, RenderConfig
from render.paths import Frame, SequenceConfig, fit, image_times
from render.runner import BlenderProcess
from render.session import BlenderSession, Probe
from shards.sample import over_white
from shards.seeding import ClipAddress
from tests.bench.harness import arguments, report

# Skinned animals and people, rigid parts, hard surfaces, textures, unlit and glossy materials.
ASSETS = (
    "alpaca.glb", "kaykit-knight.glb", "robot-alice.glb", "koi.glb", "stag.glb", "mech-george.glb",
    "horse.glb", "cat-guy.glb", "godot-robot.glb", "platform-hero.glb",
)  # fmt: skip
_IMAGES = 2  # of an orbit, per asset and setting
_TRUTH_SAMPLES = 2048
_SCALED_ASSETS, _TURNS = 12, 3
_LIGHT_ASSETS, _LIGHT_SAMPLES, _LIGHT_PX = 3, 512, 128
_ALL_PASSES = "[depth, normal, flow, index, tracks, joints]"


def main() -> None:
    """Print one table per part, and all figures."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=8, help="assets")
    parser.add_argument("--truth", type=Path, help="folder to keep the 2048-sample images in")
    parts = {
        "images": _images, "lights": _lights, "assets": _assets, "workers": _workers,
        "growth": _growth,
    }  # fmt: skip
    parser.add_argument("--only", choices=parts)
    options = parser.parse_args()
    files = [options.assets / name for name in ASSETS[: options.count]]
    figures: dict[str, float] = {}
    for name, part in parts.items():
        if options.only in (None, name):
            figures |= part(files, options)
    if options.json:
        print(json.dumps(figures))


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    look: str  # script, or default in one of the light modes
    engine: EngineConfig
    persistent: bool = True


def _settings() -> list[_Setting]:
    script = preset("diffusion4d")["render"]["engine"]
    point = {name: EngineConfig(quality=name, **script) for name in ("draft", "standard", "final")}
    soft = {name: EngineConfig(quality=name) for name in ("draft", "standard", "final")}
    reference = {"samples": 128, "denoiser": True, "exact_coverage": False}
    return [
        _Setting("reference", "script", EngineConfig(**reference, **script), persistent=False),
        *(_Setting(name, "script", engine) for name, engine in point.items()),
        _Setting("reference", "default", EngineConfig(**reference), persistent=False),
        *(_Setting(name, "default", engine) for name, engine in soft.items()),
    ]


def _look(look: str, engine: EngineConfig) -> RenderConfig:
    tree: dict[str, Any] = {"sequences": {"names": ["orbit"], "frames": _IMAGES}}
    if look == "script":
        settings = preset("diffusion4d")["render"]
        tree["lights"] = settings["lights"]
        tree["sequences"] |= {"camera": settings["sequences"]["camera"], "root_motion": "keep"}
    elif look != "default":
        tree["lights"] = {"mode": look}
        tree["sequences"] |= {"width": _LIGHT_PX, "height": _LIGHT_PX}
    return RenderConfig.build(tree).model_copy(update={"engine": engine})


class _Shooter:
    """Renders a few images of an orbit of one asset, at any settings."""

    def __init__(self, file: Path, process: BlenderProcess) -> None:
        self.file = file
        self.session = BlenderSession(process, LimitConfig(render_timeout_s=3600))
        found = inspect_file(file)
        durations = None if found.clips is None else [clip.duration_s for clip in found.clips]
        opened = self.session.open(file, found.format, durations)
        longest = max(clip.duration_s for clip in opened.clips)
        self.clip = [clip.duration_s for clip in opened.clips].index(longest)
        self.window_s = (0.0, min(longest, 2.0))

    def frame(self, sequences: SequenceConfig) -> Frame:
        probe = self.session.probe(self.clip, image_times(*self.window_s, sequences), 10**7, 20_000)
        assert isinstance(probe, Probe)
        return fit(np.concatenate([probe.points, probe.extremes], axis=1), sequences)

    def shoot(self, setting: _Setting) -> tuple[np.ndarray, float]:
        """Return the images and the seconds that one took."""
        config = _look(setting.look, setting.engine)
        process = self.session.process
        call = process.call

        def anew(request: dict[str, Any], timeout_s: float, on_event: Any) -> dict[str, Any]:
            return call(request | {"persistent_data": setting.persistent}, timeout_s, on_event)

        process.call = anew  # type: ignore[method-assign]
        try:
            frame = self.frame(config.sequences)
            address = ClipAddress(0, self.file.stem, self.clip)
            clip = self.session.render(address, self.window_s, frame, config)
        finally:
            process.call = call  # type: ignore[method-assign]
        return clip.images["orbit"], clip.seconds / _IMAGES


def _images(files: list[Path], options: argparse.Namespace) -> dict[str, float]:
    settings = _settings()
    seconds: dict[tuple[str, str], list[float]] = {}
    decibels: dict[tuple[str, str], list[float]] = {}
    rows = []
    with BlenderProcess(LimitConfig().worker, [options.assets]) as process:
        for file in files:
            shooter = _Shooter(file, process)
            for look in ("script", "default"):
                truth = _truth(shooter, look, options.truth)
                for setting in (s for s in settings if s.look == look):
                    images, each_s = shooter.shoot(setting)
                    key = (look, setting.name)
                    seconds.setdefault(key, []).append(each_s)
                    decibels.setdefault(key, []).append(_psnr_db(images, truth))
                    print(file.stem, *key, f"{each_s:.3f} s {decibels[key][-1]:.2f} dB", flush=True)
    for key in seconds:
        speedup = _ratios(seconds[key[0], "reference"], seconds[key])
        rows.append(
            (
                " ".join(key), statistics.median(seconds[key]), statistics.median(speedup),
                statistics.mean(decibels[key]), min(decibels[key]),
                min(_differences(decibels[key], decibels[key[0], "reference"])),
            )
        )  # fmt: skip
    figures = {}
    for figure, key in {
        "draft": ("script", "draft"),
        "standard": ("script", "standard"),
        "aa": ("default", "final"),
    }.items():
        reference = (key[0], "reference")
        figures[f"{figure}_speedup"] = statistics.median(_ratios(seconds[reference], seconds[key]))
        margin = min(_differences(decibels[key], decibels[reference]))
        figures[f"{figure}_psnr_margin_db"] = margin
        figures[f"{figure}_psnr_db"] = statistics.mean(decibels[key])
    header = ("look, quality", "s/image", "speedup", "mean dB", "worst dB", "worst margin dB")
    report(f"images of {len(files)} assets, 256x256 px", header, rows, figures, as_json=False)
    return figures


def _lights(files: list[Path], options: argparse.Namespace) -> dict[str, float]:
    engines = {
        "16 samples": EngineConfig(samples=16),
        "32 samples": EngineConfig(samples=32),
        "64 samples": EngineConfig(samples=64),
        "16, denoised": EngineConfig(samples=16, denoiser=True),
        "64, denoised": EngineConfig(samples=64, denoiser=True),
        "128, denoised": EngineConfig(samples=128, denoiser=True),
    }
    rows = []
    with BlenderProcess(LimitConfig().worker, [options.assets]) as process:
        for mode in ("suns", "studio", "hdri"):
            seconds: dict[str, list[float]] = {name: [] for name in engines}
            decibels: dict[str, list[float]] = {name: [] for name in engines}
            for file in files[:_LIGHT_ASSETS]:
                shooter = _Shooter(file, process)
                truth = _truth(shooter, mode, options.truth)
                for name, engine in engines.items():
                    images, each_s = shooter.shoot(_Setting(name, mode, engine))
                    seconds[name].append(each_s)
                    decibels[name].append(_psnr_db(images, truth))
            for name in engines:
                mean_db = statistics.mean(decibels[name])
                rows.append((f"{mode}, {name}", statistics.median(seconds[name]), mean_db))
    title = f"light modes, {_LIGHT_ASSETS} assets, {_LIGHT_PX}x{_LIGHT_PX} px"
    report(title, ("light, setting", "s/image", "mean dB"), rows, {}, as_json=False)
    return {}


def _truth(shooter: _Shooter, look: str, folder: Path | None) -> np.ndarray:
    file = folder / f"{shooter.file.stem}-{look}.npy" if folder else None
    if file is not None and file.exists():
        return np.load(file)
    samples = _TRUTH_SAMPLES if look in ("script", "default") else _LIGHT_SAMPLES
    engine = EngineConfig(samples=samples, exact_coverage=False)
    if look == "script":
        script = preset("diffusion4d")["render"]["engine"]
        engine = EngineConfig(samples=_TRUTH_SAMPLES, **script)
    else:
        # Filtered by Blender itself, so that nothing of ours is its own measure.
        engine = engine.model_copy(update={"denoiser": False})
    images, _ = shooter.shoot(_Setting("truth", look, _Filtered(**engine.model_dump())))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, images)
    return images


class _Filtered(EngineConfig):
    """Settings whose pixel filter the renderer applies."""

    @property
    def supersampling(self) -> int:
        return 1


def _psnr_db(images: np.ndarray, truth: np.ndarray) -> float:
    error = np.mean((over_white(images) - over_white(truth)) ** 2)
    return float(-10 * np.log10(max(error, 1e-12)))


def _ratios(slow: list[float], fast: list[float]) -> list[float]:
    return [a / b for a, b in zip(slow, fast, strict=True)]


def _differences(ours: list[float], theirs: list[float]) -> list[float]:
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def _assets(files: list[Path], options: argparse.Namespace) -> dict[str, float]:
    rows, figures = [], {}
    for name, extra in {
        "draft": (), "standard": (), "standard, all passes": (f"render.passes={_ALL_PASSES}",),
    }.items():  # fmt: skip
        overrides = [f"render.engine.quality={name.partition(',')[0]}", *extra]
        with tempfile.TemporaryDirectory() as folder:
            wall_s = _build(files, Path(folder) / "run", overrides)
            clips = ledger.load(Path(folder) / "run")
        kept = [row for row in clips if row["verdict"] == "kept"]
        stages = ("load_s", "probe_s", "render_s", "encode_s")
        medians = [statistics.median(row[stage] or 0.0 for row in kept) for stage in stages]
        whole = [sum(row[stage] or 0.0 for stage in stages) for row in kept]
        others_s = sum(row["probe_s"] or 0.0 for row in clips if row["verdict"] != "kept")
        # what no stage counts (start, commit) is shared out evenly
        rest_s = max(wall_s - sum(whole) - others_s, 0.0) / len(kept)
        median_s = statistics.median(whole) + rest_s
        others = f"{others_s:.1f} ({len(clips) - len(kept)})"
        rows.append((name, median_s, *medians, rest_s, max(whole) + rest_s, others))
        figures[f"asset_{name.replace(', all ', '_')}_s"] = median_s
    header = (
        "quality", "s/asset", "load", "probe", "render", "encode", "rest", "slowest", "other clips",
    )  # fmt: skip
    title = f"{len(files)} whole assets, one clip each: 3 x 24 images of 256x256 px, medians"
    report(title, header, rows, figures, as_json=False)
    return figures


def _workers(_: list[Path], options: argparse.Namespace) -> dict[str, float]:
    return two_worker_scaling(options.assets, _SCALED_ASSETS, _TURNS)


def two_worker_scaling(assets: Path, count: int, turns: int) -> dict[str, float]:
    """Give each worker a core: the threads of one would otherwise use the core of the other.

    Cores get faster and slower with what else the machine does, so both take turns. Assets of
    middle size, so that no single one is what two workers wait for at the end.
    """
    by_size = sorted(assets.glob("*.glb"), key=lambda file: file.stat().st_size)
    first = max((len(by_size) - count) // 2, 0)
    files = by_size[first : first + count]
    fast = ["render.engine.quality=draft", "render.sequences.frames=8", "limits.threads=1"]
    none = [*fast, "curate.clips.duration_min_s=500"]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    idle: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns + 1):
            for cores in (1, 2):
                out = Path(folder) / f"{turn}-{cores}"
                took = _build(files, out, fast if turn else none, workers=cores, cores=cores)
                if turn:
                    seconds[cores].append(took - idle[cores])
                else:
                    idle[cores] = took
    ratios = _ratios(seconds[1], seconds[2])
    figures = {"two_worker_scaling": statistics.median(ratios)}
    rows = [
        *(
            (f"turn {turn}", *row)
            for turn, row in enumerate(zip(*seconds.values(), ratios, strict=True), 1)
        ),
        ("nothing to do, taken off", idle[1], idle[2], idle[1] / idle[2]),
    ]
    title = f"{len(files)} assets on Ray, one core each worker: seconds"
    report(title, ("", "one worker", "two workers", "ratio"), rows, figures, as_json=False)
    return figures


def _growth(files: list[Path], options: argparse.Namespace) -> dict[str, float]:
    figures = {"worker_growth_mb": _growth_mb(files)}
    rows = [("200 assets", figures["worker_growth_mb"])]
    header = ("one Blender", "grows by MB")
    report("memory of a worker", header, rows, figures, as_json=False)
    return figures


def _growth_mb(files: list[Path], rounds: int = 200) -> float:
    """Open, probe and render 200 assets in one process; compare its memory to that after 40."""
    config = RenderConfig.build(
        {"sequences": {"names": ["orbit"], "frames": 2, "width": 64, "height": 64}},
        ["engine.quality=draft"],
    )
    limits = LimitConfig()
    never = limits.worker.model_copy(
        update={"recycle_after_requests": 10**9, "recycle_above_mb": 10**6}
    )
    with BlenderProcess(never, [files[0].parent]) as process:
        sizes = []
        for index in range(rounds):
            shooter = _Shooter(files[index % len(files)], process)
            frame = shooter.frame(config.sequences)
            address = ClipAddress(0, "u", shooter.clip)
            shooter.session.render(address, shooter.window_s, frame, config)
            assert process.pid is not None
            sizes.append(psutil.Process(process.pid).memory_info().rss / 2**20)
    step = len(files)  # the same assets at both ends
    return statistics.median(sizes[-step:]) - statistics.median(sizes[40 : 40 + step])


def _build(
    files: list[Path], out: Path, overrides: list[str], workers: int = 0, cores: int = 0
) -> float:
    """Return the seconds that a build took; on so many cores, 0 = all."""
    argv = [sys.executable, "-m", "orbit4d", "build", *map(str, files), "--out", str(out)]
    argv += ["--max-clips-per-asset", "1", "--workers", str(workers)]
    argv += [part for override in overrides for part in ("--set", override)]
    started = time.monotonic()
    free = sorted(os.sched_getaffinity(0))
    pinned = partial(os.sched_setaffinity, 0, free[: cores or len(free)])
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, preexec_fn=pinned)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
