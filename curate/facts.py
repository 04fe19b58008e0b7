"""What rules are asked about, and what they answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from curate.detail import Detail
from curate.motion import Motion


@dataclass(frozen=True, slots=True)
class AssetFacts:
    """What is known of the asset that a clip belongs to; None where nothing was measured.

    The names are columns of the ledger.

    Attributes:
        licence: SPDX id or whatever the source calls it; empty and ``unknown`` say nothing.
        tags: of the source, separated by semicolons.
        collision_meshes: hulls that are left out of all else.
        texture_mb: of all its images once they are decoded to RGBA8.
        missing_textures: images that are not there, or cannot be read.
        triangles: of everything visible at rest.
        parts, far_part_ratio, backdrop_share, degenerate_share, visible_share: see
            ``curate.quality.Quality``.
    """

    licence: str | None = None
    tags: str | None = None
    collision_meshes: int | None = None
    texture_mb: float | None = None
    missing_textures: int | None = None
    triangles: int | None = None
    parts: int | None = None
    far_part_ratio: float | None = None
    backdrop_share: float | None = None
    degenerate_share: float | None = None
    visible_share: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "AssetFacts":
        """Take what a ledger row, or a part of one, says."""
        return cls(**{one.name: row.get(one.name) for one in fields(cls)})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a clip; a stage that was not reached left None.

    ``geometry_tracks`` counts the tracks that move anything visible, ``camera_tracks`` those that
    move cameras or lights and nothing else.
    """

    duration_s: float
    vertices: int | None = None
    motion: Motion | None = None
    detail: Detail | None = None
    margin_px: float | None = None
    ssim_quarter: float | None = None
    ssim_half: float | None = None
    border_frames: int | None = None
    geometry_tracks: int | None = None
    camera_tracks: int | None = None
    asset: AssetFacts = field(default_factory=AssetFacts)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a clip is rejected: the measured value beside the limit it met."""

    rule: str  # snake_case, stable: reports count it
    value: float
    limit: float
    unit: str
    sentence: str
