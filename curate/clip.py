"""The road of one clip: choose its window, measure it, judge it, frame it, render it, stage it."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from curate import ledger
from curate.detail import activity_curve, describe
from curate.facts import AssetFacts, Decision, Facts
from curate.inspect import ClipHeader
from curate.job import Job, Measured
from curate.motion import busiest_window, measure
from curate.pixels import (
    asks_for_images,
    border_frames,
    first_pose_frame,
    front_views,
    moving_orbit,
    ssim_scores,
)
from curate.rows import rejection
from curate.rules import decide, stage_of
from curate.sketch import clip_sketch
from curate.view import AssetView
from render.config import RenderConfig
from render.pack import EncodedImages, pack
from render.paths import Frame, draw_cameras, fit, image_times
from render.qa import findings
from render.session import BlenderSession, RenderedClip, Unusable
from shards.config import digest_of
from shards.errors import AssetError
from shards.files import write_atomic
from shards.sample import AssetMeta, ClipMeta, Frames, sample_key
from shards.seeding import ClipAddress

_SCORE_DECIMALS = 6  # of asset sizes, degrees, shares
_CURVE_DECIMALS = 4  # of asset sizes per second
IsCopy = Callable[[dict[str, Any]], tuple[dict[str, Any], Decision | None]]
_COARSE_STEP_S, _COARSE_MAX = 0.125, 128  # how finely a long clip is searched for its window


class ClipRoad:
    """One clip from its duration to its finished sample."""

    def __init__(
        self,
        job: Job,
        session: BlenderSession,
        view: AssetView,
        clip: ClipHeader,
        about: AssetMeta,
        asset: AssetFacts,
    ) -> None:
        self.job = job
        self.session = session
        self.view = view
        self.inspection = view.inspection
        self.clip = clip
        self.about = about
        self.config = job.config
        self.facts = Facts(clip.duration_s, asset=asset)  # what is known so far
        self.fields: dict[str, Any] = {}  # what is measured so far; kept even when a fault ends it
        self.stage = "probe"
        self._outline = np.zeros((0, 0, 3))  # outermost vertices at each time, once measured
        self._measured = job.handed.of(self.inspection.sha256).measured.get(clip.index)

    def run(self, is_copy: IsCopy) -> dict[str, Any]:
        """Return the row's fields from the verdict on.

        Args:
            is_copy: asked with what is measured before the sample is rendered.
        """
        if (decision := self._stop()) is not None:
            return rejection(stage_of(decision), decision)
        decision, window_s, frame = self._probe()
        if frame is not None and (decision is None or self.config.curate.score_only):
            decision = self._judge_images(window_s) or decision
        if decision is not None or frame is None:
            assert decision is not None
            return self.fields | rejection(stage_of(decision), decision)
        about, decision = is_copy(self.fields)
        self.fields |= about
        if decision is not None:
            return self.fields | rejection("curate", decision)
        if self.config.curate.score_only:
            passed = "passes every rule; this run only scores"
            return self.fields | rejection("curate", Decision("score_only", 0, 0, "", passed))
        return self.fields | self._make_sample(window_s, frame)

    def score(self) -> dict[str, Any]:
        """Return the scores alone, for a clip that will not be rendered whatever they are."""
        self._probe()
        return self.fields

    def measure(self) -> Measured | None:
        """Judge by geometry alone, for another worker to go on from; None: nothing is measured."""
        if self._stop() is not None:
            return None
        decision, window_s, frame = self._probe()
        return Measured(decision, window_s, frame, self.fields, self.facts)

    def _probe(self) -> tuple[Decision | None, tuple[float, float], Frame | None]:
        if (known := self._measured) is not None:
            self.fields, self.facts = dict(known.fields), known.facts
            return known.decision, known.window_s, known.frame
        started = time.monotonic()
        try:
            return self._measure()
        finally:
            self.fields["probe_s"] = time.monotonic() - started

    def _stop(self) -> Decision | None:
        """Return what already rejects the clip; nothing does where all scores are asked for."""
        return None if self.config.curate.score_only else decide(self.facts, self.config.curate)

    def _measure(self) -> tuple[Decision | None, tuple[float, float], Frame | None]:
        """Measure the clip and frame it; stop at the first rule that rejects, unless only scoring.

        Only geometry that there is none of, or too much, ends the scoring early.
        """
        geometry = self.config.curate.geometry
        window_s = self._window()
        sequences = self.config.render.sequences
        # beside the images' times the clip's ends, to see whether it is a loop
        times_s = np.append(image_times(*window_s, sequences), [0.0, self.clip.duration_s])
        probe = self.view.probe(
            self.clip.index, times_s, geometry.vertices_max, geometry.probe_points_max
        )
        self.fields |= {"window_start_s": window_s[0], "window_stop_s": window_s[1]}
        if (tracks := self.view.tracks(self.clip.index)) is not None:
            self.fields |= {"key_tracks": tracks[0], "constant_tracks": tracks[1]}
        self.facts = replace(self.facts, vertices=probe.vertices)
        if (aims := self.view.aims(self.clip.index)) is not None:
            self.fields |= {"geometry_tracks": aims[0], "camera_tracks": aims[1]}
            self.facts = replace(self.facts, geometry_tracks=aims[0], camera_tracks=aims[1])
        if isinstance(probe, Unusable):
            return decide(self.facts, self.config.curate), window_s, None
        self.fields |= {"vertices": probe.vertices}
        _refuse_non_finite(probe.points)
        frames = sequences.frames  # the first times are evenly spread over the window
        points, weights = probe.points[:frames], probe.weights
        motion = measure(points, weights)
        detail = describe(points, times_s[:frames], probe.points[-2:], weights)
        self.fields |= {
            # Linear algebra may differ in its last bits from run to run, with threads and memory
            # alignment; scores stand in samples, and equal inputs must give equal bytes.
            name: round(value, _SCORE_DECIMALS)
            for name, value in (asdict(motion) | asdict(detail)).items()
            if name != "size"
        }
        curve = activity_curve(points, times_s[:frames], weights)
        self.fields["activity_curve"] = [round(speed, _CURVE_DECIMALS) for speed in curve]
        if (sketch := clip_sketch(points, weights)) is not None:
            self.fields["clip_sketch"] = sketch.encode()
        self.facts = replace(self.facts, motion=motion, detail=detail)
        if (decision := self._stop()) is not None or motion.size == 0:
            return decision or decide(self.facts, self.config.curate), window_s, None
        outline = np.concatenate([probe.points, probe.extremes()], axis=1)[:-2]
        _refuse_non_finite(outline)
        draw = draw_cameras(
            sequences.camera, self.config.seed, self.job.source.uid, self.clip.index
        )
        frame = fit(outline, sequences, draw)
        self.fields |= {"margin_px": frame.margin_px, "root_motion": frame.root_motion}
        self.facts = replace(self.facts, margin_px=frame.margin_px)
        self._outline = outline
        return decide(self.facts, self.config.curate), window_s, frame

    def _judge_images(self, window_s: tuple[float, float]) -> Decision | None:
        """Render what rules on images look at, if there are any; stop at the first that rejects.

        A run that only scores measures all of it.
        """
        if not asks_for_images(self.config.curate):
            return None
        config, started = self.config.curate.pixels, time.monotonic()
        self._open()
        self.stage = "probe"
        frame = first_pose_frame(self._outline, config)
        quarter, half = ssim_scores(self._images(window_s, frame, front_views(config)), config)
        decision = self._judge(ssim_quarter=round(quarter, 6), ssim_half=round(half, 6))
        if decision is None or self.config.curate.score_only:
            orbit = self._images(window_s, frame, moving_orbit(config))
            decision = self._judge(border_frames=border_frames(orbit, config))
        self.fields["probe_s"] += time.monotonic() - started
        return decision

    def _judge(self, **scores: float) -> Decision | None:
        """Put scores on record, and judge by all that is known."""
        self.fields |= scores
        self.facts = replace(self.facts, **scores)
        return decide(self.facts, self.config.curate)

    def _images(self, window_s: tuple[float, float], frame: Frame, look: RenderConfig) -> Frames:
        rendered = self.session.render(self._address, window_s, frame, look)
        (images,) = rendered.images.values()
        return images

    def _window(self) -> tuple[float, float]:
        """Choose the stretch: the whole clip, or of a long one the part with the most motion."""
        duration_s, longest_s = self.clip.duration_s, self.config.curate.clips.window_max_s
        if duration_s <= longest_s:
            return 0.0, duration_s
        count = min(int(duration_s / _COARSE_STEP_S) + 1, _COARSE_MAX)
        times_s = np.linspace(0.0, duration_s, count)
        geometry = self.config.curate.geometry
        probe = self.view.probe(
            self.clip.index, times_s, geometry.vertices_max, geometry.probe_points_max
        )
        if isinstance(probe, Unusable) or not np.isfinite(probe.points).all():
            return 0.0, longest_s  # the fine probe reports what is wrong
        start_s, stop_s = busiest_window(probe.points, times_s, longest_s, probe.weights)
        return round(start_s, 6), round(stop_s, 6)  # the fingerprint rests on it: no stray bits

    def _make_sample(self, window_s: tuple[float, float], frame: Frame) -> dict[str, Any]:
        """Render, check and stage the sample, unless a committed one is the same."""
        key = sample_key(self.job.source.uid, self.clip.index)
        fingerprint = self._fingerprint(window_s)
        kept = {"verdict": "kept", "rule": "", "stage": "", "error": "", "log_tail": ""}
        kept |= {"sample_key": key, "fingerprint": fingerprint}
        if self.job.finished.get(key) == fingerprint:
            return kept
        warnings = self._open()
        self.stage = "render"
        with EncodedImages(self.config.render.codec, self.session.limits.threads) as encoded:
            rendered = self.session.render(
                self._address, window_s, frame, self.config.render, encoded.add
            )
            self.fields["render_s"] = rendered.seconds
            decision = self._look_at(rendered, follows=frame.drift is not None)
            if decision is not None:
                return rejection("render", decision)
            started = time.monotonic()
            extras = {"warnings": tuple(warnings), "fingerprint": fingerprint}
            meta, run = pack(
                self.about, self._about_clip(window_s), frame, rendered,
                extras | self._extras(), encoded,
            )  # fmt: skip
        write_atomic(self.job.staging / f"{key}.tar", run)
        self.fields["encode_s"] = time.monotonic() - started
        magnitude = meta.motion_magnitude
        self.fields["motion_magnitude"] = magnitude.pixel_sum if magnitude else None
        return kept

    @property
    def _address(self) -> ClipAddress:
        return ClipAddress(self.config.seed, self.job.source.uid, self.clip.index)

    def _about_clip(self, window_s: tuple[float, float]) -> ClipMeta:
        return ClipMeta(
            index=self.clip.index,
            name=self.clip.name,
            duration_s=self.clip.duration_s,
            window_start_s=window_s[0],
            window_stop_s=window_s[1],
        )

    def _extras(self) -> dict[str, Any]:
        of_asset = {n: v for n, v in asdict(self.facts.asset).items() if v is not None}
        known = of_asset | self.fields
        scores = (*ledger.SCORES, *ledger.QA)
        return {
            "scores": {name: known[name] for name in scores if name in known},
            "versions": dict(self.job.versions),
        }

    def _look_at(self, rendered: RenderedClip, follows: bool) -> Decision | None:
        """Check the images; all values go on record, and the first fault is the verdict."""
        found = findings(
            rendered.images, rendered.views, rendered.evidence, self.config.render.qa, follows
        )
        self.fields |= {
            one.rule: round(one.value, _SCORE_DECIMALS) for one in found if np.isfinite(one.value)
        }
        fault = next((one for one in found if one.is_fault), None)
        if fault is None:
            return None
        return Decision(fault.rule, fault.value, fault.limit, fault.unit, fault.sentence)

    def _open(self) -> list[str]:
        """Open the asset in Blender, if it isn't; returns all warnings, its own included."""
        first = self.view.opened is None
        self.stage = "load"
        opened = self.view.open()
        if first:
            self.fields["load_s"] = opened.seconds
        warnings = [*self.view.warnings, *opened.warnings]
        warnings = list(dict.fromkeys(warnings))  # a hull that is left out is found by both
        self.fields["warnings"] = json.dumps(warnings)
        return warnings

    def _fingerprint(self, window_s: tuple[float, float]) -> str:
        """Hash all that the sample's bytes rest on."""
        return digest_of(
            {
                "asset": [self.inspection.sha256, *map(list, self.inspection.companions)],
                "clip": self.clip.index,
                "window_s": window_s,
                "seed": self.config.seed,
                "points": self.config.curate.geometry.probe_points_max,  # the frame rests on them
                "render": self.config.render.model_dump(mode="json"),
                "versions": dict(self.job.versions),
                **self._images_fingerprint(),
                **({"about": said} if (said := self.job.source.about.fields()) else {}),
            }
        )

    def _images_fingerprint(self) -> dict[str, Any]:
        """Name the settings behind the scores of images, which stand in the sample."""
        if not asks_for_images(self.config.curate):
            return {}
        return {"pixels": self.config.curate.pixels.model_dump(mode="json")}


def _refuse_non_finite(points: np.ndarray) -> None:
    if not np.isfinite(points).all():
        raise AssetError(
            "the posed geometry holds NaN or infinite positions", rule="not_finite", stage="probe"
        )
