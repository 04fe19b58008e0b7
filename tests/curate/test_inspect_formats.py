"""Sniffing, FBX, USD and .blend files."""

import io
import os
import struct
import time
import zipfile
from pathlib import Path

import pytest

from curate.inspect import InspectLimits, inspect_file, sniff
from shards.errors import AssetError
from tests.curate.gltf_builder import png_header, refused


def _file(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- the file itself


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"glTF\2\0\0\0", "glTF binary"),
        (b' \n{"asset"', "JSON text"),
        (b"\xef\xbb\xbf{", "JSON text"),
        (b"[1]", "unknown data"),
        (b"Kaydara FBX Binary  \0\x1a\0", "FBX"),
        (b"; FBX 7.5.0 project file", "FBX"),
        (b"BLENDER-v404", "Blender file"),
        (b"\x1f\x8b\x08", "gzip data"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
        (b"PXR-USDC", "USD crate"),
        (b"#usda 1.0", "USD text"),
        (b"PK\x03\x04", "zip archive"),
        (b"", "unknown data"),
    ],
)
def test_kind_is_told_from_the_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


_CONTENT = {
    "glb": b"glTF",
    "gltf": b"{}",
    "fbx": b"; FBX",
    "usd": b"#usda",
    "usda": b"#usda",
    "usdc": b"PXR-USDC",
    "usdz": b"PK\x03\x04",
    "blend": b"BLENDER",
}
_ALSO = {("usd", "usda"), ("usd", "usdc"), ("usda", "usd")}  # suffix, content


@pytest.mark.parametrize("suffix", _CONTENT)
@pytest.mark.parametrize("content", _CONTENT)
def test_suffix_must_fit_the_content(tmp_path: Path, suffix: str, content: str) -> None:
    path = _file(tmp_path / f"a.{suffix}", _CONTENT[content] + b" " * 60)
    sound = {"fbx", "usd", "usda", "blend"}  # so little content is enough for them
    if suffix != content and (suffix, content) not in _ALSO:
        assert refused(path) == "wrong_type"
    elif content in sound:
        assert inspect_file(path).format == suffix
    else:
        assert refused(path) != "wrong_type"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.glb").mkdir()
    os.mkfifo(tmp_path / "pipe.glb")
    (tmp_path / "loop.glb").symlink_to("loop.glb")
    _file(tmp_path / "empty.glb", b"")
    _file(tmp_path / "model.obj", b"v 0 0 0")
    assert refused(tmp_path / "folder.glb") == "not_a_file"
    assert refused(tmp_path / "pipe.glb") == "not_a_file"
    assert refused(tmp_path / "loop.glb") == "unreadable_file"
    assert refused(tmp_path / "none.glb") == "missing_file"
    assert refused(tmp_path / "empty.glb") == "empty_file"
    assert refused(tmp_path / "model.obj") == "unsupported_type"


def test_main_file_may_be_a_link_and_shout(tmp_path: Path) -> None:
    _file(tmp_path / "store" / "0123", b"BLENDER-v404")
    (tmp_path / "A.BLEND").symlink_to("store/0123")
    assert inspect_file(tmp_path / "A.BLEND").format == "blend"


def test_defect_of_the_inspector_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("defect")

    monkeypatch.setattr("curate.inspect.check_fbx", fail)
    with pytest.raises(AssetError, match=r"a\.fbx.*inspector itself failed \(KeyError\)") as caught:
        inspect_file(_file(tmp_path / "a.fbx", b"; FBX"))
    assert caught.value.rule == "inspector_fault"
    assert "defect" in caught.value.detail


# --- FBX


def _fbx(version: int, ends: list[int] | None = None, *, closed: bool = True) -> bytes:
    layout = "<QQQB" if version >= 7500 else "<IIIB"
    size = struct.calcsize(layout)
    data = b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", version)
    for number in range(2):
        end = len(data) + size + 6
        end = end if ends is None else ends[number]
        data += struct.pack(layout, end, 0, 2, 4) + b"Name" + b"PP"
    return data + b"\0" * size * closed


@pytest.mark.parametrize("version", [6100, 7400, 7500, 7700])
def test_fbx_records_are_walked(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.fbx"
    whole = _fbx(version)
    assert inspect_file(_file(path, whole)).clips is None
    for length in (25, 30, len(whole) // 2, len(whole) - 1):
        assert refused(_file(path, whole[:length])) == "truncated_file"
    assert refused(_file(path, _fbx(version, [10**6, 0]))) == "truncated_file"
    with pytest.raises(AssetError, match="ends before it begins"):
        inspect_file(_file(path, _fbx(version, [27, 0])))


def test_fbx_offset_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert refused(_file(tmp_path / "a.fbx", _fbx(7500, [2**64 - 1, 0]))) == "truncated_file"


def test_fbx_of_absurd_version_or_length_is_refused(tmp_path: Path) -> None:
    assert refused(_file(tmp_path / "a.fbx", _fbx(123_456))) == "bad_fbx"
    data = b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", 7400)
    for _ in range(20_000):
        data += struct.pack("<IIIB", len(data) + 13, 0, 0, 0)
    assert refused(_file(tmp_path / "a.fbx", data)) == "bad_fbx"


# --- USD


def _usda(*lines: str) -> str:
    return "\n".join(["#usda 1.0", *lines, ""])


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("references = @../x.usda@", "path_traversal"),
        ("prepend payload = @/x.usd@</A>", "path_traversal"),
        ("subLayers = [@./ok.usda@, @C:/x.usda@]", "path_traversal"),
        ("references = @@@../x.usda@@@", "path_traversal"),
        ("references = @%2e%2e/x.usda@", "path_traversal"),
        ("references = @..\\x.usda@", "path_traversal"),
        ("references = @link/x.usda@", "path_traversal"),
        ("asset inputs:file = @/tmp/x.png@", "path_traversal"),
        ('string templateAssetPath = "../../x.##.usd"', "path_traversal"),
        ("references = @../pack.usdz[a.usda]@", "path_traversal"),
        ("references = @http://host/x.usda@", "remote_uri"),
        ("references = @s3://bucket/x.usd@", "remote_uri"),
        ('references = @`"${ROOT}/x.usda"`@', "bad_uri"),
        ("references = @gone.usda@", "missing_layer"),
        ("references = @gone.usda:SDF_FORMAT_ARGS:a=b@", "missing_layer"),
        ("references = @text.usda@", "bad_usd"),
        ("references = @nested.usda@", "path_traversal"),
        ("asset inputs:file = @big.png@", "image_too_large"),
    ],
)
def test_usd_asset_paths_are_checked(tmp_path: Path, line: str, rule: str) -> None:
    folder = tmp_path / "asset"
    path = _file(folder / "a.usda", _usda('def "A" (', line, ") {}"))
    _file(tmp_path / "x.usda", _usda())
    _file(folder / "ok.usda", _usda())
    _file(folder / "text.usda", "plain text")
    _file(folder / "nested.usda", _usda("subLayers = [@deeper/b.usda@]"))
    _file(folder / "deeper/b.usda", _usda("subLayers = [@../../x.usda@]"))
    _file(folder / "big.png", png_header(20_000, 16_000))
    (folder / "link").symlink_to(tmp_path)
    assert refused(path) == rule


def test_usd_layers_inside_the_folder_are_companions(tmp_path: Path) -> None:
    path = _file(
        tmp_path / "a.usda",
        _usda(
            "subLayers = [@./layers/b.usda@, @layers/b.usda@, @@]",
            "references = @a.usda@",  # itself: no endless round
            "asset inputs:file = @gone.png@",
            "asset inputs:tile = @tiles.<UDIM>.png@",
            "asset inputs:far = @https://host/far.png@",
            "asset info:mdl:sourceAsset = @OmniPBR.mdl@",
            'string doc = "mail a@../x.usda@b"  # and @../y.usda@ here',
            "string long = '''@../z.usda@ \\''' @../w.usda@'''",
        ),
    )
    _file(tmp_path / "layers/b.usda", _usda("asset x = @../textures/c.png@"))
    _file(tmp_path / "textures/c.png", png_header(4, 4))
    found = inspect_file(path)
    assert [name for name, _ in found.companions] == ["layers/b.usda", "textures/c.png"]
    assert (found.format, found.clips, found.vertices) == ("usda", None, None)
    assert [text.split("'")[1] for text in found.warnings] == [
        *("gone.png", "tiles.<UDIM>.png", "https://host/far.png", "OmniPBR.mdl")
    ]


@pytest.mark.parametrize(
    "text",
    ['"""' + '\\"""' * 50_000, "'''" * 50_001, "@@@" * 50_001, '"\\' * 50_000, "@" * 100_001],
    ids=["escapes", "singles", "triples", "backslashes", "ats"],
)
def test_usd_scan_takes_linear_time(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path / "a.usda", "#usda 1.0\n" + text)
    start = time.perf_counter()
    inspect_file(path)
    assert time.perf_counter() - start < 2.0  # backtracking takes minutes


def test_number_of_usd_references_is_bounded(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.usda", _usda(*(f"asset a = @{i}.png@" for i in range(9))))
    inspect_file(path, InspectLimits(references_max=9))
    assert refused(path, InspectLimits(references_max=8)) == "bad_usd"


def _crate(sections: list[tuple[int, int]], table: int = 88) -> bytes:
    data = b"PXR-USDC\0\x08\0\0\0\0\0\0" + struct.pack("<q", table)
    data = data.ljust(88, b"\0") + struct.pack("<Q", len(sections))
    return data + b"".join(b"TOKENS".ljust(16, b"\0") + struct.pack("<qq", *s) for s in sections)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (_crate([(24, 64)]), ""),
        (_crate([(24, 1000)]), "truncated_file"),
        (_crate([(-1, 1)]), "truncated_file"),
        (_crate([(24, 64)])[:-1], "truncated_file"),
        (_crate([(24, 64)])[:20], "truncated_file"),
        (_crate([(24, 64)], 10**9), "truncated_file"),
        (_crate([(24, 64)], 2**63 - 1), "truncated_file"),
        (_crate([(24, 64)], -8), "bad_usd"),
        (_crate([]), "bad_usd"),
    ],
)
def test_usd_crate_frame_is_checked(tmp_path: Path, data: bytes, rule: str) -> None:
    path = _file(tmp_path / "a.usdc", data)
    if rule:
        assert refused(path) == rule
    else:
        assert "binary layer" in inspect_file(path).warnings[0]


def _usdz(entries: list[tuple[str, bytes | str]], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as package:
        for name, content in entries:
            package.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def _padded(data: bytes, *, inside: bool) -> bytes:
    """Put 4 bytes in front of the first entry or of the directory, and mend the offsets."""
    directory = data.index(b"PK\x01\x02")
    at = directory if inside else 0
    out = bytearray(data[:at] + b"junk" + data[at:])
    if not inside:
        struct.pack_into("<I", out, directory + 4 + 42, 4)
        out[:4] = b"PK\x03\x04"
    struct.pack_into("<I", out, len(out) - 6, directory + 4)
    return bytes(out)


_LAYER = ("a.usda", _usda("asset t = @t/c.png@"))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (_usdz([_LAYER, ("t/c.png", png_header(4, 4))]), ""),
        (_usdz([_LAYER]), "warning"),
        (_usdz([_LAYER], zipfile.ZIP_DEFLATED), "bad_usdz"),
        (_usdz([("t/c.png", b""), _LAYER]), "bad_usdz"),
        (_usdz([_LAYER, ("../b.usda", _usda())]), "path_traversal"),
        (_usdz([_LAYER, ("/b.usda", _usda())]), "path_traversal"),
        (_usdz([_LAYER, ("b.usda", _usda("references = @../x.usda@"))]), "path_traversal"),
        (_usdz([_LAYER, ("b.usda", _usda("references = @x.usda@"))]), "missing_layer"),
        (_usdz([_LAYER, ("b.usdz", _usdz([_LAYER]))]), "bad_usd"),
        (_usdz([_LAYER, ("big.png", png_header(20_000, 16_000))]), "image_too_large"),
        (_usdz([_LAYER])[:-30], "bad_usdz"),
        (_usdz([_LAYER])[:50], "bad_usdz"),
        (_usdz([_LAYER])[:10], "bad_usdz"),
        (_padded(_usdz([_LAYER]), inside=False), "bad_usdz"),
        (_padded(_usdz([_LAYER]), inside=True), "bad_usdz"),
        (_usdz([_LAYER]).replace(b"PK\x01\x02", b"PK\x01\x03"), "bad_usdz"),
        (_usdz([_LAYER]).replace(b"a.usda", b"b.usda", 1), "bad_usdz"),
        (_usdz([_LAYER]) + _usdz([_LAYER]), "bad_usdz"),  # two packages: readers would differ
    ],
)
def test_usdz_package_is_checked(tmp_path: Path, data: bytes, rule: str) -> None:
    path = _file(tmp_path / "a.usdz", data)
    if rule in ("", "warning"):
        assert len(inspect_file(path).warnings) == bool(rule)
    else:
        assert refused(path) == rule


@pytest.mark.parametrize(
    ("layout", "local", "central", "value", "message"),
    [
        ("<H", 8, 10, 8, "compressed or encrypted"),
        ("<H", 6, 8, 1, "compressed or encrypted"),
        ("<II", 18, 20, 10**6, "is cut off"),
        ("<I", None, 42, 10**6, "has no header"),
    ],
)
def test_usdz_header_fields_are_checked(
    tmp_path: Path, layout: str, local: int | None, central: int, value: int, message: str
) -> None:
    data = bytearray(_usdz([_LAYER]))
    values = (value,) * (len(layout) - 1)
    struct.pack_into(layout, data, data.index(b"PK\x01\x02") + central, *values)
    if local is not None:
        struct.pack_into(layout, data, local, *values)
    with pytest.raises(AssetError, match=message) as caught:
        inspect_file(_file(tmp_path / "a.usdz", bytes(data)))
    assert caught.value.rule == "bad_usdz"


def test_usdz_entry_named_twice_is_refused(tmp_path: Path) -> None:
    data = _usdz([_LAYER, ("b.usda", "#usda 1.0")]).replace(b"b.usda", b"a.usda")
    assert refused(_file(tmp_path / "a.usdz", data)) == "bad_usdz"


def test_number_of_usdz_entries_is_bounded(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.usdz", _usdz([_LAYER, ("t/c.png", png_header(4, 4))]))
    inspect_file(path, InspectLimits(files_max=2))
    assert refused(path, InspectLimits(files_max=1)) == "too_many_files"
