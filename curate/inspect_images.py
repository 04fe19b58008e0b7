"""Hold images against the pixel limits, by their headers."""

from curate.inspect_paths import AssetFolder
from curate.inspect_types import fault
from render import image_size as headers
from render.image_size import HEAD_MAX, Size

__all__ = ["HEAD_MAX", "check_image", "image_size"]


def image_size(data: bytes) -> Size | None:
    """Read an image's size from its header, see ``render.image_size``.

    Raises:
        AssetError: rule ``bad_image`` for a size hidden behind more than ``HEAD_MAX`` bytes.
    """
    try:
        return headers.image_size(data)
    except ValueError as error:
        raise fault("bad_image", str(error)) from error


def check_image(data: bytes, what: str, folder: AssetFolder) -> None:
    """Hold one image against the pixel limits, per image and for the asset as a whole.

    An image of no known kind only warns: Blender shows it as missing.

    Raises:
        AssetError: rules ``image_too_large`` and ``bad_image``.
    """
    size = image_size(data)
    if size is None or not all(size):
        folder.miss_image(f"{what} is not a readable image; it will look untextured")
        return
    width, height = size
    limits = folder.limits
    folder.pixels += width * height
    if width * height > limits.image_pixels_max:
        found, limit = f"is {width} x {height} pixels", limits.image_pixels_max
    elif folder.pixels > limits.image_pixels_total_max:
        found = f"brings the images to {folder.pixels:,} pixels"
        limit = limits.image_pixels_total_max
    else:
        return
    raise fault(
        "image_too_large", f"{what} {found}, the limit is {limit:,} pixels; scale the image down."
    )
