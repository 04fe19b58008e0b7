"""The samples' shapes, textures and clips before Blender sees them."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from render.blender.samples.atlas import pack, painted, png
from render.blender.samples.catalogue import ASSETS
from render.blender.samples.model import Model
from render.blender.samples.paint import fill, over, plain, spots
from render.blender.samples.solid import Solid, solid, weights
from render.blender.samples.surface import Part, Texels, box, ellipsoid, lathe, tube

SHAPES = {
    "ellipsoid": ellipsoid((1, 2, 3), (1.0, 2.0, 0.5), plain("#ff0000")),
    "squared": ellipsoid((0, 0, 0), 1.0, plain("#ff0000"), square=0.5),
    "tube": tube([(0, 0, 0), (0, 1, 1), (0, 2, 0)], [0.3, 0.2, 0.1], plain("#ff0000")),
    "flat ends": tube([(0, 0, 0), (0, 0, 1)], [(0.3, 0.1)] * 2, plain("#ff0000"), caps=0.0),
    "lathe": lathe([(0.5, 0), (0.5, 1), (0.2, 1.5)], plain("#ff0000"), turn=(0, 90, 0)),
    "box": box((0, 0, 0), (1, 2, 3), plain("#ff0000"), bevel=0.1, cuts=3),
}


def built(name: str, seed: int = 0) -> Model:
    model = Model(name, np.random.default_rng(seed))
    ASSETS[name](model)
    return model


def meshed(part: Part) -> Solid:
    model = Model("one", np.random.default_rng(0))
    model.add("one", [part])
    slots, width, height = pack(model)
    return solid([part], slots, (width, height))


def volume(mesh: Solid) -> float:
    fans = [(f[0], f[k], f[k + 1]) for f in mesh.faces for k in range(1, len(f) - 1)]
    a, b, c = (mesh.points[list(column)] for column in zip(*fans, strict=True))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_closed_and_face_outwards(shape: str) -> None:
    mesh = meshed(SHAPES[shape])
    edges = Counter((f[k - 1], f[k]) for f in mesh.faces for k in range(len(f)))
    assert set(edges.values()) == {1}
    assert {(b, a) for a, b in edges} == set(edges)
    assert volume(mesh) > 0


def test_sizes_are_those_asked_for() -> None:
    points = meshed(SHAPES["ellipsoid"]).points
    np.testing.assert_allclose(points.min(axis=0), [0, 0, 2.5], atol=0.02)
    np.testing.assert_allclose(points.max(axis=0), [2, 4, 3.5], atol=0.02)
    points = meshed(SHAPES["box"]).points
    np.testing.assert_allclose(np.ptp(points, axis=0), [1, 2, 3], atol=1e-9)
    assert volume(meshed(SHAPES["squared"])) > 1.2 * 4 / 3 * np.pi


def test_a_png_holds_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(picture))))
    np.testing.assert_array_equal(read, picture[::-1])


@pytest.mark.parametrize("name", ASSETS)
def test_charts_do_not_overlap_in_the_texture(name: str) -> None:
    slots, width, height = pack(built(name))
    taken = np.zeros((height, width), int)
    for slot in slots:
        w, h = slot.chart.pixels
        assert min(slot.x, slot.y) >= 0
        taken[slot.y : slot.y + h, slot.x : slot.x + w] += 1
    assert taken.max(initial=0) <= 1
    assert taken.sum() == sum(s.chart.pixels[0] * s.chart.pixels[1] for s in slots)


@pytest.mark.parametrize("name", [n for n in ASSETS if built(n).bones and built(n).nodes])
def test_weights_are_few_and_sum_to_one(name: str) -> None:
    model = built(name)
    node = next(n for n in model.nodes if n.skinned)
    slots, width, height = pack(model)
    count = sum(len(part.charts) for part in node.parts)
    table = weights(solid(node.parts, slots[:count], (width, height)), node.parts, model.bones)
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    assert (table > 0).sum(axis=1).max() <= 4
    assert (table.max(axis=0) > 0.3).all()  # no bone is without vertices of its own


@pytest.mark.parametrize("name", ASSETS)
def test_clips_move_known_nodes_once_each(name: str) -> None:
    model = built(name)
    known = {node.name for node in model.nodes} | {bone.name for bone in model.bones}
    for clip in model.clips:
        tracks = Counter((t.node, t.kind, t.key) for t in clip.tracks)
        assert set(tracks.values()) == {1}
        assert {track.node for track in clip.tracks} <= known
        assert all(np.isfinite(track.values).all() for track in clip.tracks)


@pytest.mark.parametrize("name", ASSETS)
def test_loops_end_where_they_begin(name: str) -> None:
    for clip in built(name).clips:
        for track in clip.tracks if clip.loop else ():
            gap = track.values[-1] - track.values[0]
            if track.kind == "turn":
                gap = (gap + 180) % 360 - 180
            np.testing.assert_allclose(gap, 0, atol=1e-6, err_msg=f"{clip.name} {track.node}")


def test_the_seed_decides_the_spots() -> None:
    def spotted(texels: Texels) -> np.ndarray:
        return over(fill(texels, "#ffffff"), "#000000", spots(texels.q, texels.rng, 9, (8, 16)))

    def texture(seed: int) -> np.ndarray:
        model = Model("one", np.random.default_rng(seed))
        model.add("one", [ellipsoid((0, 0, 0), 1.0, spotted)])
        slots, width, height = pack(model)
        return painted(slots, (width, height), model.rng)

    np.testing.assert_array_equal(texture(0), texture(0))
    assert (texture(0) != texture(1)).any()
