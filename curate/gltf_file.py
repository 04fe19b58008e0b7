"""The outer layer of glTF: GLB chunks, JSON text, and the bytes of buffers.

Strictness follows Blender's importer: what it would refuse is refused here with a reason, and
what it would accept by accident (a short buffer, a wild index) is refused before it can.
"""

import binascii
import json
import struct
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from pydantic_core import from_json

from curate.inspect_paths import AssetFolder, check_file_count, is_remote
from curate.inspect_types import InspectLimits, Rule, fault, show

Row = dict[str, Any]
_NUMBER_MAX = 2**40  # no honest count or offset is larger; keeps int64 products exact
_BASE64 = ";base64,"


@dataclass(slots=True)
class Document:
    """A parsed glTF with its bytes at hand.

    Attributes:
        json: the root object.
        folder: where its companions lie, and where warnings go.
        buffers: uint8 arrays of each buffer's declared length; None for a placeholder whose
            content only an extension could supply.
        buffer_bytes: declared length of each buffer.
        rewritten: whether this is no longer what the file says, so that Blender needs a copy.
    """

    json: Row
    folder: AssetFolder
    buffers: list[np.ndarray | None]
    buffer_bytes: list[int]
    rewritten: bool = False

    @property
    def limits(self) -> InspectLimits:
        """Bounds of this inspection."""
        return self.folder.limits


def split_glb(data: bytes) -> tuple[bytes, memoryview | None]:
    """Take a GLB apart.

    Returns:
        The JSON text and the binary chunk, None where there is none.

    Raises:
        AssetError: rules ``truncated_file``, ``bad_glb``, ``gltf_version``.
    """
    if len(data) < 20:
        raise fault("truncated_file", f"a GLB needs 20 bytes, this has {len(data)}; copy it again.")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise fault("gltf_version", f"GLB version is {version}, expected 2; export it again.")
    if length > len(data):
        raise fault(
            "truncated_file",
            f"the header announces {length:,} bytes, the file has {len(data):,}; copy it again.",
        )
    if length < len(data):
        raise fault(
            "bad_glb",
            f"{len(data) - length:,} bytes follow the end of the GLB; export it again.",
        )
    kind, text, end = _chunk(data, 12)
    if kind != b"JSON":
        raise fault("bad_glb", f"the first GLB chunk is {show(kind)}, expected JSON.")
    if end == len(data):
        return bytes(text), None
    kind, content, _ = _chunk(data, end)
    return bytes(text), content if kind == b"BIN\0" else None


def _chunk(data: bytes, start: int) -> tuple[bytes, memoryview, int]:
    if start + 8 > len(data):
        raise fault("bad_glb", f"a GLB chunk header at byte {start:,} is cut off; copy it again.")
    length, kind = struct.unpack_from("<I4s", data, start)
    end = start + 8 + length
    if end > len(data):
        raise fault(
            "bad_glb",
            f"the GLB chunk at byte {start:,} claims {length:,} bytes, the file has "
            f"{len(data) - start - 8:,} left; copy or export it again.",
        )
    return kind, memoryview(data)[start + 8 : end], end


def parse_json(text: bytes, limits: InspectLimits) -> Row:
    """Parse the JSON text of a glTF 2.0.

    Raises:
        AssetError: rules ``bad_json``, ``json_too_large``, ``bad_schema``, ``gltf_version``.
    """
    if len(text) > limits.json_bytes_max:
        raise _json_too_large(len(text), limits.json_bytes_max, "bytes")
    # Each value but the last of a container is followed by a comma: an upper bound on the objects
    # made, found without making them ("[[],[],...]" grows twentyfold when parsed).
    values = sum(text.count(mark) for mark in (b",", b"[", b"{"))
    if values > limits.json_values_max:
        raise _json_too_large(values, limits.json_values_max, "values")
    try:
        root = _parse(text)
    except RecursionError:
        raise fault("bad_json", "the JSON is nested too deeply to be read.") from None
    except ValueError as error:
        raise fault("bad_json", f"not valid JSON: {str(error)[:200]}; export it again.") from None
    if not isinstance(root, dict) or not isinstance(root.get("asset"), dict):
        raise fault("bad_schema", 'the JSON has no "asset" object, so it is not a glTF.')
    version = root["asset"].get("version")
    if version != "2.0":
        raise fault("gltf_version", f"glTF version is {show(version)}, expected '2.0'; convert it.")
    return root


def _parse(text: bytes) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)  # twice as fast, but not as forgiving
    except ValueError:
        return json.loads(text.decode("utf-8"), parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _json_too_large(found: int, limit: int, unit: str) -> Exception:
    return fault(
        "json_too_large",
        f"the JSON has up to {found:,} {unit}, the limit is {limit:,}; "
        "store geometry in a binary buffer.",
    )


def load_buffers(doc: Document, binary: memoryview | None) -> None:
    """Fill in the document's buffers, reading companions inside its folder.

    Raises:
        AssetError: rules ``missing_buffer``, ``truncated_buffer``, ``remote_uri``,
            ``path_traversal``, ``bad_uri``, ``bad_data_uri``, ``file_too_large``,
            ``too_many_files``, ``bad_schema``.
    """
    table = rows(doc.json, "buffers")
    check_file_count(len(table), "buffers", doc.limits)
    lengths = whole_numbers(table, "byteLength", "buffer")
    for index, (row, length) in enumerate(zip(table, lengths.tolist(), strict=True)):
        uri = row.get("uri")
        if uri is not None and not isinstance(uri, str):
            raise fault("bad_schema", f"buffer {index}: uri is {show(uri)}, expected a string.")
        if uri:
            content = _fetch_buffer(doc.folder, uri, index)
        elif index == 0 and binary is not None:
            content = binary
        elif row.get("extensions"):
            content = None
        else:
            raise fault(
                "missing_buffer",
                f"buffer {index} has neither a URI nor a GLB chunk; export it again.",
            )
        if content is not None and len(content) < length:
            raise fault(
                "truncated_buffer",
                f"buffer {index} declares {length:,} bytes, has {len(content):,}; copy it again.",
            )
        data = None if content is None else np.frombuffer(content, np.uint8, length)
        doc.buffers.append(data)
        doc.buffer_bytes.append(length)


def _fetch_buffer(folder: AssetFolder, uri: str, index: int) -> bytes:
    data = data_uri(uri)
    if data is not None:
        return data
    relative = folder.locate(uri, percent=True)
    content = folder.read(relative)  # a colon in the name of an existing file is no scheme
    if content is not None:
        return content
    if is_remote(uri):
        raise fault(
            "remote_uri",
            f"buffer {index} lies at {show(uri)}; nothing is fetched over the network. "
            "Download it and refer to it by a relative path.",
        )
    raise fault(
        "missing_buffer",
        f"buffer {index}: no file {show(relative)} beside the asset; copy it there.",
    )


def data_uri(uri: str) -> bytes | None:
    """Decode a base64 data URI; None when the URI is of another kind.

    Raises:
        AssetError: rule ``bad_data_uri``. Without a base64 mark Blender would take the whole text
            for a path, so that is refused too.
    """
    if uri[:5].lower() != "data:":
        return None
    at = uri.find(_BASE64)
    if at < 0 or not uri.startswith("data:"):
        raise fault("bad_data_uri", f"data URI {show(uri)} is not base64; export it again.")
    try:
        return binascii.a2b_base64(uri[at + len(_BASE64) :])
    except ValueError as error:
        raise fault("bad_data_uri", f"data URI {show(uri)}: {error}; export it again.") from None


def rows(parent: Row, key: str, what: str = "the file") -> list[Row]:
    """Take a list of objects, empty when absent.

    Raises:
        AssetError: rule ``bad_schema``.
    """
    table = parent.get(key)
    if table is None:
        return []
    if not isinstance(table, list) or not set(map(type, table)) <= {dict}:
        raise fault("bad_schema", f"{what}: {key} is not a list of objects; export it again.")
    return table


def mapping(parent: Row, key: str, what: str) -> Row:
    """Take an object, empty when absent.

    Raises:
        AssetError: rule ``bad_schema``.
    """
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise fault("bad_schema", f"{what}: {key} is {show(value)}, expected an object.")
    return value


def extension(parent: Row, name: str, what: str) -> Row:
    """Take an extension's object, empty when absent."""
    return mapping(mapping(parent, "extensions", what), name, what)


def whole_numbers(
    table: list[Row],
    key: str,
    what: str,
    default: int | None = None,
    rule: Rule = "bad_schema",
) -> np.ndarray:
    """Take one column of non-negative whole numbers, int64 (n,).

    Args:
        table: the rows.
        key: the column.
        what: what a row is called in a message.
        default: for rows without it; None makes it required.
        rule: of the error when a value is not a whole number from 0 to 2**40.
    """
    values = [row.get(key, default) for row in table]
    if default is not None and None in values:
        values = [default if value is None else value for value in values]
    if not set(map(type, values)) <= {int} or (values and not _within(values, _NUMBER_MAX)):
        at = next(i for i, v in enumerate(values) if type(v) is not int or not _within([v], 2**40))
        raise fault(
            rule,
            f"{what} {at}: {key} is {show(values[at])}, expected a whole number; export it again.",
        )
    return np.array(values, np.int64)


def references(
    table: list[Row], key: str, what: str, count: int, *, required: bool = False
) -> np.ndarray:
    """Take one column of indices into a list of ``count`` items, int64 (n,), -1 where absent.

    Raises:
        AssetError: rule ``bad_reference``.
    """
    values = [row.get(key) for row in table]
    present = values if required else [value for value in values if value is not None]
    if not _are_indices(present, count):
        at = next(
            i
            for i, value in enumerate(values)
            if not _are_indices([value], count) and (required or value is not None)
        )
        raise bad_reference(f"{what} {at}: {key}", values[at], count)
    return np.array([-1 if value is None else value for value in values], np.int64)


def reference(row: Row, key: str, what: str, count: int) -> int:
    """Take one required index into a list of ``count`` items."""
    value = row.get(key)
    if not _are_indices([value], count):
        raise bad_reference(f"{what}: {key}", value, count)
    return int(value)  # pyright: ignore[reportArgumentType]


def index_lists(table: list[Row], key: str, what: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Take a column of lists of indices.

    Returns:
        Row numbers and the indices they hold, both int64 (total,), in file order.

    Raises:
        AssetError: rules ``bad_schema`` and ``bad_reference``.
    """
    lists = [row.get(key, []) for row in table]
    lists = [[] if value is None else value for value in lists]
    if not set(map(type, lists)) <= {list}:
        at = next(i for i, value in enumerate(lists) if type(value) is not list)
        raise fault("bad_schema", f"{what} {at}: {key} is {show(lists[at])}, expected a list.")
    flat = list(chain.from_iterable(lists))
    owners = np.repeat(np.arange(len(lists)), [len(value) for value in lists])
    if not _are_indices(flat, count):
        at = next(i for i, value in enumerate(flat) if not _are_indices([value], count))
        raise bad_reference(f"{what} {owners[at]}: {key}", flat[at], count)
    return owners.astype(np.int64), np.array(flat, np.int64)


def bad_reference(where: str, value: Any, count: int) -> Exception:
    """Make the error for an index that is none."""
    return fault(
        "bad_reference",
        f"{where} is {show(value)}, expected the index of one of {count} items; export it again.",
    )


def _are_indices(values: list[Any], count: int) -> bool:
    if not values:
        return True
    return set(map(type, values)) <= {int} and min(values) >= 0 and max(values) < count


def _within(values: list[Any], high: int) -> bool:
    return min(values) >= 0 and max(values) <= high
