"""Settings about whole assets: whose they are, how sound they look, what counts as a copy.

Few limits are on by default: what a data set is for decides whether a ground plane, an effect made
of a thousand shards or a missing texture does harm. On are those that only fire where next to
nothing could be seen; ARCHITECTURE.md argues each.
"""

from typing import Literal

from pydantic import Field

from shards.config import Config
from shards.likeness import GEOMETRY_TOLERANCE


class RightsConfig(Config):
    """Which licences and tags are taken. A pattern may hold ``*``: ``CC-BY-*``."""

    licences_allow: tuple[str, ...] | None = Field(
        default=None, description="SPDX ids or Objaverse's names; none: every licence"
    )
    licences_deny: tuple[str, ...] = Field(default=(), description="likewise; never taken")
    unknown: Literal["keep", "reject"] = Field(
        default="keep", description="assets that nobody states a licence of"
    )
    tags_deny: tuple[str, ...] = Field(
        default=(), description="assets with one of these tags are not taken, e.g. nsfw"
    )


class QualityConfig(Config):
    """How sound the geometry and its textures must be. ``none`` asks nothing."""

    texture_mb_max: float | None = Field(
        default=2048.0, gt=0, description="all images of an asset, decoded to 8-bit RGBA"
    )
    missing_textures_max: int | None = Field(default=None, ge=0)
    triangles_min: int = Field(default=1, ge=0, description="less is no surface to be seen")
    visible_share_min: float = Field(
        default=0.01, ge=0, le=1, description="share of the surface that is not wholly clear"
    )
    far_part_ratio_max: float | None = Field(
        default=16.0, ge=1, description="size of the whole to that of the large parts"
    )
    backdrop_share_max: float | None = Field(
        default=None, ge=0, le=1, description="share of the surface in planes behind the rest"
    )
    degenerate_share_max: float | None = Field(
        default=None, ge=0, le=1, description="share of triangles without an area"
    )
    parts_max: int | None = Field(default=None, ge=1, description="unconnected pieces of surface")


class DuplicateConfig(Config):
    """What counts as a copy of an earlier clip, and what becomes of it."""

    reject: Literal["nothing", "bytes", "clips", "geometry"] | None = Field(
        default=None,
        description="bytes: copies of files; clips: also equal motion of equal geometry in equal "
        "colours; geometry: also other motion of geometry that is there already; none: clips, but "
        "nothing under rules=diffusion4d, whose paper drops no copies",
    )
    geometry_tolerance: float = Field(
        default=GEOMETRY_TOLERANCE,
        gt=0,
        lt=0.1,
        description="between two shapes, in their own sizes",
    )
    motion_tolerance: float = Field(
        default=1e-3, gt=0, lt=0.1, description="difference of two motions, in asset sizes"
    )
