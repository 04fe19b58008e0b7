"""What further columns of the ledger mean: of the asset, of copies, of rendered images, of time."""

# column -> title, unit, meaning
MEANINGS: dict[str, tuple[str, str, str]] = {
    "duration_s": ("duration (s)", "s", "Length of the whole clip."),
    "vertices": ("vertices", "vertices", "Evaluated and visible vertices."),
    "triangles": ("triangles", "triangles", "Visible triangles at rest."),
    "key_tracks": ("tracks", "tracks", "Tracks that move nodes or morph weights. glTF only."),
    "constant_tracks": ("constant", "tracks", "Those of the tracks that always have one value."),
    "geometry_tracks": (
        "tracks of geometry",
        "tracks",
        "Tracks that move anything visible. 0 beside camera tracks: the clip is about a camera.",
    ),
    "camera_tracks": (
        "tracks of cameras",
        "tracks",
        "Tracks that move cameras or lights, or what carries them.",
    ),
    "root_motion": (
        "root motion",
        "",
        "What the camera does about drift: keep it in view, follow it, or take it out.",
    ),
    "collision_meshes": (
        "hulls",
        "meshes",
        "Collision hulls of game engines, left out of all that is measured and rendered.",
    ),
    "texture_mb": (
        "textures",
        "MB",
        "Memory that all images take once decoded to 8-bit RGBA, by their headers.",
    ),
    "missing_textures": (
        "missing textures",
        "images",
        "Images that are not there or cannot be read; the surface shows plain colours instead.",
    ),
    "parts": (
        "pieces",
        "pieces",
        "Pieces of surface that touch no other, however the file is cut into objects.",
    ),
    "far_part_ratio": (
        "far part",
        "ratio",
        "Size of the whole over that of its large parts, which hold 95 % of the surface. High: "
        "something small lies far off.",
    ),
    "backdrop_share": (
        "backdrop",
        "share",
        "Share of the surface in planes as long as all the rest, 0 to 1: a ground or a backdrop.",
    ),
    "degenerate_share": (
        "degenerate",
        "share",
        "Share of the triangles that have no area at rest, 0 to 1.",
    ),
    "visible_share": (
        "visible",
        "share",
        "Share of the surface that is not wholly transparent at rest, 0 to 1. A texture's alpha "
        "is not looked at.",
    ),
    "content": ("content", "", "Hash of all files of the asset. Equal: the same bytes."),
    "geometry": (
        "shape",
        "",
        "Triangles, and moments of the shape at rest, by which copies are found.",
    ),
    "look": ("look", "", "Hash of materials and images. Other look, same shape: a recolour."),
    "clip_sketch": ("motion sketch", "", "Moments of the motion, by which copies are found."),
    "family": ("family", "", "The first asset that has this shape."),
    "duplicate_of": ("duplicate of", "", "The earlier clip that this one repeats."),
    "recolour_of": ("recolour of", "", "The earlier clip that differs in colours alone."),
    "qa_not_finite": ("not finite", "px", "Rendered pixels that are NaN or infinite."),
    "blank_images": ("blank", "share", "Share of images that show nothing, 0 to 1."),
    "qa_black": ("black", "share", "Share of images that are black where they show anything."),
    "qa_texture": ("unread textures", "textures", "Textures in use that have no pixels."),
    "qa_magenta": (
        "magenta",
        "share",
        "Share of visible pixels in the colour that Blender paints where a texture is missing.",
    ),
    "qa_flat": ("flat", "share", "Share of images of one single colour, 0 to 1."),
    "qa_same_views": (
        "same views",
        "share",
        "Share of orbit images equal to the first. 1: the camera did not move.",
    ),
    "qa_frozen": (
        "frozen",
        "share",
        "Share of pairs, same camera and other time, that are equal. 1: the clip did not play.",
    ),
    "qa_border": ("cut off", "images", "Images whose border cuts the object off."),
    "qa_outside": (
        "outside",
        "px",
        "How far images reach beyond the projected geometry, in pixels. High: a wrong camera.",
    ),
    "qa_missing": (
        "unseen",
        "share",
        "Largest share of the projected box's width or height that the image does not show.",
    ),
    "qa_fireflies": (
        "fireflies",
        "share",
        "Share of visible pixels that are far brighter than all their neighbours.",
    ),
    "fetch_s": ("fetch", "s", "Seconds that bringing the asset here took; in its first row."),
    "inspect_s": (
        "inspect",
        "s",
        "Seconds spent on the gate and on the asset at rest; in its first row.",
    ),
    "load_s": ("load", "s", "Seconds that Blender took to open the asset."),
    "probe_s": ("probe", "s", "Seconds spent on measuring the clip."),
    "render_s": ("render", "s", "Seconds spent on rendering it."),
    "encode_s": ("encode", "s", "Seconds spent on encoding it."),
}
