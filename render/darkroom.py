"""Blender's linear pixels become the images of sequences while Blender renders the next ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from render.config import RenderConfig
from render.film import develop, read_exr
from render.paths import Frame, ImageKey, Views
from render.qa import Evidence, count_fireflies
from render.surface import Surface
from shards.camera import intrinsics, projected_box
from shards.sample import Frames

OnSequence = Callable[[str, Frames], None]


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to render: several sequences may share it.

    Attributes:
        key: its camera and time.
        base_pose: (4, 4) camera to base world.
        centre: (3,) what the camera looks at.
        file: where Blender writes it.
    """

    key: ImageKey
    base_pose: Float64[np.ndarray, "4 4"]
    centre: Float64[np.ndarray, " 3"]
    file: Path

    @property
    def time_index(self) -> int:
        """Which of the clip's times it shows."""
        return self.key[2]


@dataclass(frozen=True, slots=True)
class _Developed:
    """An image, and what only its linear pixels and the surface could tell of it."""

    image: np.ndarray  # uint8 (h, w, 4)
    box: np.ndarray  # (4,) see ``Evidence.boxes``
    not_finite: int
    fireflies: int
    visible: int


class Darkroom:
    """Develops the images of one clip as they come."""

    def __init__(
        self,
        layout: dict[str, Views],
        frame: Frame,
        surface: Surface,
        config: RenderConfig,
        on_sequence: OnSequence | None = None,
    ) -> None:
        """List the different images of all sequences.

        Args:
            layout: cameras and times of each sequence.
            frame: where the object is put.
            surface: grows with the news that ``take`` gets.
            config: image size, pixel filter, coverage.
            on_sequence: called with a sequence's name and images as soon as they are whole.
        """
        self.surface, self.engine = surface, config.engine
        sequences = config.sequences
        self.size = (sequences.height, sequences.width)
        self.k = intrinsics(sequences.camera.fov_deg, sequences.width, sequences.height)
        self.images: dict[str, Frames] = {}
        self._keys = {name: views.image_keys() for name, views in layout.items()}
        self._on_sequence = on_sequence
        self._developed: dict[ImageKey, _Developed] = {}
        shots: dict[ImageKey, Shot] = {}
        for name, views in layout.items():
            places = zip(frame.base_poses(views), frame.centres(views), strict=True)
            for key, (pose, centre) in zip(self._keys[name], places, strict=True):
                file = surface.folder / f"{len(shots):05d}.exr"
                shots.setdefault(key, Shot(key, pose, centre, file))
        self.shots = sorted(shots.values(), key=lambda shot: shot.time_index)

    def take(self, event: dict[str, Any]) -> None:
        """Develop an image that Blender says it has rendered.

        Args:
            event: ``index`` of the shot, ``part`` of the frame that its file holds (left, top,
                right, bottom), and ``surface`` where a new time was recorded.
        """
        if "surface" in event:
            self.surface.learn(event["surface"])
        shot = self.shots[event["index"]]
        self._developed[shot.key] = self._develop(shot, event["part"])
        shot.file.unlink()
        for name, keys in self._keys.items():
            if name not in self.images and all(key in self._developed for key in keys):
                self.images[name] = np.stack([self._developed[key].image for key in keys])
                if self._on_sequence is not None:
                    self._on_sequence(name, self.images[name])

    def evidence(self) -> Evidence:
        """Add up what was seen of all images; one that several sequences share counts once."""
        developed = self._developed.values()
        return Evidence(
            not_finite=sum(one.not_finite for one in developed),
            fireflies=sum(one.fireflies for one in developed),
            visible=sum(one.visible for one in developed),
            boxes={
                name: np.stack([self._developed[key].box for key in keys])
                for name, keys in self._keys.items()
            },
            complete=self.surface.complete,
            opaque=self.surface.opaque,
            unreadable=self.surface.unreadable,
        )

    def _develop(self, shot: Shot, part: list[int]) -> _Developed:
        """Turn what Blender wrote into an image, and look at it on the way."""
        surface, engine = self.surface, self.engine
        coverage = None
        if engine.coverage_rays and surface.complete:
            rays = surface.rays(shot.time_index)
            coverage = partial(
                rays.coverage, k=self.k, c2w=shot.base_pose, width_px=engine.filter_width_px,
                count=engine.coverage_rays,
            )  # fmt: skip
        linear = read_exr(shot.file)
        not_finite = 0
        if not np.isfinite(linear.sum()):  # counted; the filter would spread them
            broken = ~np.isfinite(linear).all(axis=-1)
            linear[broken] = 0.0
            not_finite = int(broken.sum())
        image = np.zeros((*self.size, 4), np.uint8)
        fine, (left, top, right, bottom) = engine.supersampling, part
        assert linear.shape[:2] == (bottom - top, right - left), (linear.shape, part)
        corner = (top // fine, left // fine)
        image[top // fine : bottom // fine, left // fine : right // fine] = develop(
            linear, fine, engine.filter_width_px, coverage, corner
        )
        return _Developed(
            image,
            projected_box(surface.drawn_points(shot.time_index), self.k, shot.base_pose),
            not_finite,
            count_fireflies(linear),
            int((linear[..., 3] > 0).sum()),
        )
