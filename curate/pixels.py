"""Diffusion4D's rules as scores: what the front view shows of a clip, and what touches the border.

The images are made for judging alone, as the paper's cameras see a clip: at a fixed distance, the
object normalised once, by its first pose. So what leaves its place also leaves the picture, which
the cameras of a sample prevent by fitting themselves to the whole window.
"""

from typing import Any

import numpy as np

from curate.config import CurateConfig, PixelConfig
from curate.presets import preset
from render.config import RenderConfig
from render.paths import CameraDraw, Frame
from shards.sample import Frames

_BACKGROUNDS = {"white": 1.0, "grey": 0.5, "black": 0.0}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as most image tools
_FRONT_SHARES = (0.0, 0.25, 0.5)  # of the window: tau_0, tau_T/4, tau_T/2


def asks_for_images(config: CurateConfig) -> bool:
    """Tell whether any rule looks at images that are rendered for it."""
    return config.rules == "diffusion4d" or config.pixels.enabled


def front_views(config: PixelConfig) -> RenderConfig:
    """Ask for the front view at the window's start, a quarter and half of it."""
    cameras = [{"time": share, "elevation_deg": config.elevation_deg} for share in _FRONT_SHARES]
    return _look(config, {"names": ["list"], "cameras": cameras})


def moving_orbit(config: PixelConfig) -> RenderConfig:
    """Ask for the orbit around the moving object, whose alpha tells what touches the border."""
    return _look(config, {"names": ["orbit"]})


def _look(config: PixelConfig, sequences: dict[str, object]) -> RenderConfig:
    paper = preset("diffusion4d")["render"]
    sequences = sequences | {
        "frames": config.frames,
        "width": config.size_px,
        "height": config.size_px,
        "root_motion": "keep",
        "camera": {
            "distance": config.distance,
            "fov_deg": config.fov_deg,
            "elevation_deg": config.elevation_deg,
        },
    }
    engine = paper["engine"] | {"quality": config.quality}
    return RenderConfig.build({"sequences": sequences, "engine": engine, "lights": paper["lights"]})


def first_pose_frame(outline: np.ndarray, config: PixelConfig) -> Frame:
    """Normalise as the paper's script does: once, by the box of one pose.

    Args:
        outline: outermost vertices at each time (k, n, 3), asset units; some have an extent.
        config: camera.

    Returns:
        The frame in which the first pose's longest side is 1 and its box is centred. A thing that
        grows from nothing is normalised by the box of all its poses.
    """
    first = outline[0] if np.ptp(outline[0], axis=0).any() else outline.reshape(-1, 3)
    low, high = first.min(axis=0), first.max(axis=0)
    x, y, z = (-(low + high) / 2).tolist()
    draw = CameraDraw(0.0, config.elevation_deg)
    scale = 1.0 / float((high - low).max())
    return Frame(scale, (x, y, z), config.distance, margin_px=0.0, draw=draw)


def ssim_scores(frames: Frames, config: PixelConfig) -> tuple[float, float]:
    """Compare the first of three views with the second and the third.

    Args:
        frames: RGBA (3, h, w, 4) uint8, straight alpha.
        config: window, colour and background.

    Returns:
        Structural similarity (Wang et al. 2004), mean over the whole image: 1 for equal images.
    """
    over = _over_background(frames, config)
    return _similarity(over[0], over[1], config), _similarity(over[0], over[2], config)


def _over_background(frames: Frames, config: PixelConfig) -> np.ndarray:
    """Lay images over the background: float32 (t, h, w, c) in [0, 1]."""
    values = frames.astype(np.float32) / 255
    alpha = values[..., 3:]
    colour = values[..., :3] * alpha + _BACKGROUNDS[config.background] * (1 - alpha)
    return colour @ _LUMA[:, None] if config.colour == "grey" else colour


def _similarity(a: np.ndarray, b: np.ndarray, config: PixelConfig) -> float:
    from skimage.metrics import structural_similarity  # only who asks for it pays for the import

    window: dict[str, Any] = {"win_size": config.ssim_window_px}
    if config.ssim_window == "gaussian":
        window |= {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found: Any = structural_similarity(a, b, data_range=1.0, channel_axis=-1, **window)
    return float(found)


def border_frames(frames: Frames, config: PixelConfig) -> int:
    """Count the images whose object reaches the border.

    Args:
        frames: RGBA (t, h, w, 4) uint8.
        config: width of the border, and the alpha from which a pixel shows the object.
    """
    shown, width = frames[..., 3] >= config.alpha_min, config.border_px
    inner = shown.copy()
    inner[:, width:-width, width:-width] = False
    return int(inner.any(axis=(1, 2)).sum())
