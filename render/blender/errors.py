"""Why a file cannot be loaded, in words about the file."""

import re

import bpy


class LoadError(Exception):
    """The importer refused the file; the text is its reason."""

    kind = "load"


class ImageError(LoadError):
    """An image is too large to be decoded, or does not say how large it is."""

    kind = "images"


def reason(message: str) -> str:
    """Say what an importer refuses in the words of the asset, where its own are about itself."""
    text = message.strip().removeprefix("Error: ")
    if unknown := re.match(r"Extension (\S+) is not available", text):
        which = f"which Blender {bpy.app.version_string} cannot import"
        return f"needs the glTF extension {unknown[1]}, {which}; export it without"
    return text
