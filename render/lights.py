"""Lights as plain numbers; one draw per clip, shared by all its sequences."""

from typing import Any

from pydantic import Field

from shards.config import Config
from shards.seeding import rng_for


class LightConfig(Config):
    """Four suns without shadows around the object, and a little light from everywhere.

    Azimuth and elevation say where a sun stands, as for cameras. Energies are drawn from
    ``jitter`` around the given ones. A white surface facing a sun of pi W/m2 renders as 1.0.
    """

    key_w_m2: float = Field(default=1.7, ge=0)
    fill_w_m2: float = Field(default=0.9, ge=0)
    rim_w_m2: float = Field(default=1.0, ge=0)
    bottom_w_m2: float = Field(default=0.4, ge=0)
    ambient: float = Field(default=0.25, ge=0, description="radiance of the invisible sky")
    jitter: float = Field(default=0.15, ge=0, lt=1, description="relative half width of the draw")


_PLACES = (  # name, azimuth_deg, elevation_deg
    ("key", -40.0, 45.0),
    ("fill", 50.0, 25.0),
    ("rim", 170.0, 40.0),
    ("bottom", 0.0, -70.0),
)


def draw_lights(config: LightConfig, seed: int, uid: str, clip_index: int) -> list[dict[str, Any]]:
    """Draw the lights of one clip from its address.

    Returns:
        One dict per sun: name, azimuth_deg, elevation_deg, energy_w_m2, angle_deg (apparent
        size), shadow (0 or 1).
    """
    rng = rng_for(seed, "lights", uid, clip_index)
    factors = 1 + config.jitter * (2 * rng.random(len(_PLACES)) - 1)
    energies = (config.key_w_m2, config.fill_w_m2, config.rim_w_m2, config.bottom_w_m2)
    return [
        {
            "name": name,
            "azimuth_deg": azimuth_deg,
            "elevation_deg": elevation_deg,
            "energy_w_m2": float(energy * factor),
            "angle_deg": 0.0,
            "shadow": 0.0,
        }
        for (name, azimuth_deg, elevation_deg), energy, factor in zip(
            _PLACES, energies, factors, strict=True
        )
    ]
