"""Lights as plain numbers; one draw per clip, shared by all its sequences.

A white diffuse surface that faces a sun of pi W/m2 renders as 1.0, so energies below are pi times
what a light adds. All modes leave the background transparent and are set so that the brightest
white surface stays just under 1.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from shards.config import Config
from shards.errors import ConfigError
from shards.seeding import rng_for

_FILES = {".hdr": (b"#?RADIANCE", b"#?RGBE"), ".exr": (b"\x76\x2f\x31\x01",)}  # suffix: beginnings


SunElevationDeg = Annotated[float, Field(ge=0, le=90)]


class StudioConfig(Config):
    """Three soft discs with shadows that stand around the object and move with it.

    ``key``, ``fill`` and ``rim`` are what each adds to a white surface that faces it.
    """

    key: float = Field(default=0.55, ge=0)
    fill: float = Field(default=0.2, ge=0)
    rim: float = Field(default=0.5, ge=0)
    ambient: float = Field(default=0.12, ge=0, description="radiance of the invisible sky")
    distance: float = Field(default=3.0, gt=1, description="in sides of the unit cube")
    turn_range_deg: tuple[float, float] = Field(
        default=(-20.0, 20.0), description="draw the azimuth of the whole rig"
    )


class SkyConfig(Config):
    """A clear sky with its sun over grey ground, or an environment image."""

    file: Path | None = Field(
        default=None, description=".hdr or .exr, equirectangular; none: a sky made by Blender"
    )
    brightness: float = Field(default=0.85, gt=0, description="of the white surface lit most")
    sun_share: float = Field(default=0.5, ge=0, le=1, description="made sky: the sun's part of it")
    sun_width_deg: float = Field(default=5.0, ge=0, description="hazy: softens its shadow")
    sun_elevation_range_deg: tuple[SunElevationDeg, SunElevationDeg] = (25.0, 65.0)
    azimuth_range_deg: tuple[float, float] = Field(
        default=(-60.0, 60.0), description="of the sun; of the middle of an environment image"
    )


class LightConfig(Config):
    """What lights the object.

    ``suns``: four suns without shadows, and a little light from everywhere; least noise.
    Energies are drawn from ``jitter`` around the given ones; with ``sun_set`` diffusion4d from the
    numbers of its script instead. ``studio`` and ``hdri`` cast shadows.
    """

    mode: Literal["suns", "studio", "hdri"] = "suns"
    sun_set: Literal["orbit4d", "diffusion4d"] = "orbit4d"
    key_w_m2: float = Field(default=1.7, ge=0)
    fill_w_m2: float = Field(default=0.9, ge=0)
    rim_w_m2: float = Field(default=1.0, ge=0)
    bottom_w_m2: float = Field(default=0.4, ge=0)
    ambient: float = Field(default=0.25, ge=0, description="radiance of the invisible sky")
    jitter: float = Field(default=0.15, ge=0, lt=1, description="relative half width of the draw")
    diffusion4d_gain: float = Field(
        default=0.3,
        gt=0,
        description="times that script's energies: it rendered with the view transform Filmic; at "
        "1 and with Standard white surfaces would come out three times too bright",
    )
    studio: StudioConfig = StudioConfig()
    sky: SkyConfig = SkyConfig()


_PLACES = (  # name, azimuth_deg, elevation_deg
    ("key", -40.0, 45.0),
    ("fill", 50.0, 25.0),
    ("rim", 170.0, 40.0),
    ("bottom", 0.0, -70.0),
)
# From Diffusion4D's rendering script: its Euler angles as azimuth and elevation, and the energies
# it chooses from. Key and rim do come from the same side there.
_DIFFUSION4D = (
    ("key", -45.0, 45.0, (3.0, 4.0, 5.0)),
    ("fill", 135.0, 45.0, (2.0, 3.0, 4.0)),
    ("rim", -45.0, 45.0, (3.0, 4.0, 5.0)),
    ("bottom", 0.0, -90.0, (1.0, 2.0, 3.0)),
)
_STUDIO = (  # name, azimuth_deg, elevation_deg, diameter in sides of the unit cube
    ("key", -40.0, 40.0, 1.6),
    ("fill", 55.0, 15.0, 3.0),
    ("rim", 165.0, 40.0, 2.0),
)


def draw_lights(config: LightConfig, seed: int, uid: str, clip_index: int) -> list[dict[str, Any]]:
    """Draw the lights of one clip from its address.

    Returns:
        One dict per light: ``name``, ``kind`` (none said: sun), ``azimuth_deg`` and
        ``elevation_deg`` of where it stands, and by kind

        - sun: ``energy_w_m2``, ``angle_deg`` (apparent size), ``shadow`` (0 or 1), and maybe its
          colour as ``red``, ``green``, ``blue``;
        - area: ``distance`` and ``diameter`` in sides of the unit cube, ``power_w`` in its world;
        - sky: ``radiance`` of the white surface it lights most, ``ground`` (radiance below the
          horizon); azimuth and elevation are the sun's;
        - file: ``file`` (name), ``radiance``; the azimuth is where the image's middle stands.
    """
    rng = rng_for(seed, "lights", uid, clip_index)
    if config.mode == "studio":
        return _studio(config.studio, rng)
    if config.mode == "hdri":
        return _sky(config.sky, rng)
    if config.sun_set == "diffusion4d":
        return [
            _sun(name, azimuth, elevation, config.diffusion4d_gain * choices[rng.integers(3)])
            for name, azimuth, elevation, choices in _DIFFUSION4D
        ]
    factors = 1 + config.jitter * (2 * rng.random(len(_PLACES)) - 1)
    energies = (config.key_w_m2, config.fill_w_m2, config.rim_w_m2, config.bottom_w_m2)
    return [
        _sun(name, azimuth_deg, elevation_deg, float(energy * factor))
        for (name, azimuth_deg, elevation_deg), energy, factor in zip(
            _PLACES, energies, factors, strict=True
        )
    ]


def ambient_radiance(config: LightConfig) -> float:
    """Return the radiance of the white sky that a mode adds to its lights."""
    return {"suns": config.ambient, "studio": config.studio.ambient, "hdri": 0.0}[config.mode]


def light_file(config: LightConfig) -> Path | None:
    """Return the environment image that the settings ask for, as an absolute path.

    Raises:
        ConfigError: it cannot be read, or is neither Radiance HDR nor OpenEXR.
    """
    if config.mode != "hdri" or config.sky.file is None:
        return None
    path = config.sky.file.expanduser().absolute()
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise ConfigError(f"render.lights.sky.file {path}: cannot be read: {error}") from error
    if not start.startswith(_FILES.get(path.suffix.lower(), ())):
        raise ConfigError(
            f"render.lights.sky.file {path}: expected a Radiance .hdr or an OpenEXR .exr file"
        )
    return path


def _sun(name: str, azimuth_deg: float, elevation_deg: float, energy: float) -> dict[str, Any]:
    return {
        "name": name,
        "azimuth_deg": azimuth_deg,
        "elevation_deg": elevation_deg,
        "energy_w_m2": energy,
        "angle_deg": 0.0,
        "shadow": 0.0,
    }


def _within(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return round(bounds[0] + (bounds[1] - bounds[0]) * float(rng.random()), 6)


def _studio(config: StudioConfig, rng: np.random.Generator) -> list[dict[str, Any]]:
    turn = _within(rng, config.turn_range_deg)
    lights = []
    for (name, azimuth, elevation, diameter), added in zip(
        _STUDIO, (config.key, config.fill, config.rim), strict=True
    ):
        # A disc of radius r and power P lights what faces it on its axis, d away, with
        # P / (pi (d^2 + r^2)) W/m2, and a white surface gives 1 / pi of that back.
        power = added * np.pi**2 * (config.distance**2 + diameter**2 / 4)
        lights.append(
            {
                "name": name,
                "kind": "area",
                "azimuth_deg": azimuth + turn,
                "elevation_deg": elevation,
                "distance": config.distance,
                "diameter": diameter,
                "power_w": round(float(power), 6),
                "shadow": 1.0,
            }
        )
    return lights


def _sky(config: SkyConfig, rng: np.random.Generator) -> list[dict[str, Any]]:
    azimuth = _within(rng, config.azimuth_range_deg)
    elevation = _within(rng, config.sun_elevation_range_deg)
    if config.file is not None:
        return [
            {
                "name": "environment",
                "kind": "file",
                "file": config.file.name,
                "azimuth_deg": azimuth,
                "elevation_deg": 0.0,
                "radiance": config.brightness,
            }
        ]
    ground = 0.35 * config.brightness  # sand or stone in that light
    sky = {
        "name": "sky",
        "kind": "sky",
        "azimuth_deg": azimuth,
        "elevation_deg": elevation,
        "radiance": config.brightness * (1 - config.sun_share),
        "ground": ground,
    }
    energy = round(float(np.pi * config.brightness * config.sun_share), 6)
    warm = {"angle_deg": config.sun_width_deg, "shadow": 1.0, "green": 0.93, "blue": 0.82}
    return [sky, _sun("sun", azimuth, elevation, energy) | {"kind": "sun", "red": 1.0} | warm]
