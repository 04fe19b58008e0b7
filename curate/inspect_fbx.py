"""FBX: is it whole? Top-level records of a binary file are walked; ASCII is taken as it is."""

import struct
from typing import BinaryIO

from curate.inspect_types import fault

BINARY_MAGIC = b"Kaydara FBX Binary  \0"
_HEADER = 27  # magic 21, two marker bytes, version 4
_WIDE_VERSION = 7500  # from here on offsets take 64 bits
_RECORDS_MAX = 10_000  # real files have about ten


def check_fbx(stream: BinaryIO, size: int) -> None:
    """Check that a binary FBX of ``size`` bytes runs to its closing record.

    Raises:
        AssetError: rules ``truncated_file`` and ``bad_fbx``.
    """
    stream.seek(0)
    head = stream.read(_HEADER)
    if not head.startswith(BINARY_MAGIC):
        return  # ASCII
    if len(head) < _HEADER:
        raise _cut(size, _HEADER)
    version = struct.unpack_from("<I", head, 23)[0]
    if not 2000 <= version < 10_000:
        raise fault("bad_fbx", f"FBX version is {version}, expected 6100 to 7700; export it again.")
    layout = struct.Struct("<QQQB" if version >= _WIDE_VERSION else "<IIIB")
    position = _HEADER
    for _ in range(_RECORDS_MAX):
        stream.seek(position)
        record = stream.read(layout.size)
        if len(record) < layout.size:
            raise _cut(size, position + layout.size)
        end, _, properties, name = layout.unpack(record)
        if end == 0:  # the record that closes the list
            return
        if end > size:
            raise _cut(size, end)
        if end < position + layout.size + properties + name:
            raise fault("bad_fbx", f"the FBX record at byte {position:,} ends before it begins.")
        position = end
    raise fault("bad_fbx", f"more than {_RECORDS_MAX:,} top-level FBX records; export it again.")


def _cut(size: int, needed: int) -> Exception:
    return fault(
        "truncated_file",
        f"the FBX needs at least {needed:,} bytes, the file has {size:,}; copy it again.",
    )
