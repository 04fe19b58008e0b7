"""The helper that decodes streams: what the machine does to it costs no asset."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import meshopt
import numpy as np
import pytest

from curate import decoders
from curate.decoders import MeshoptLayout, decode_meshopt
from shards.errors import AssetError, MachineError

VALUES = np.random.default_rng(0).integers(0, 5000, (300, 4)).astype("<u2")
LAYOUT = MeshoptLayout(300, 8, "ATTRIBUTES", "NONE")


def decoded() -> np.ndarray:
    stream = meshopt.encode_vertex_buffer(VALUES.view("u1"))
    return decode_meshopt(bytes(stream), LAYOUT).view("<u2").reshape(300, 4)


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> Iterator[decoders._Decoder]:
    made = decoders._Decoder()
    monkeypatch.setattr(decoders, "_decoder", made)
    yield made
    made.close()


def struck(helper: decoders._Decoder, number: signal.Signals) -> np.ndarray:
    """Decode with a helper that hangs, and is sent a signal meanwhile."""
    np.testing.assert_array_equal(decoded(), VALUES)
    assert helper._process is not None
    pid = helper._process.pid
    os.kill(pid, signal.SIGSTOP)

    def strike() -> None:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)

    threading.Timer(0.2, strike).start()
    return decoded()


def test_a_helper_that_is_killed_from_outside_is_asked_again(helper: decoders._Decoder) -> None:
    np.testing.assert_array_equal(struck(helper, signal.SIGKILL), VALUES)


def test_a_helper_that_crashes_costs_the_asset_alone(helper: decoders._Decoder) -> None:
    with pytest.raises(AssetError, match="the decoder crashed or hung over it"):
        struck(helper, signal.SIGSEGV)
    np.testing.assert_array_equal(decoded(), VALUES)


def test_a_stream_that_takes_too_long_costs_the_asset_alone(
    helper: decoders._Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.testing.assert_array_equal(decoded(), VALUES)
    monkeypatch.setattr(decoders, "_TIMEOUT_S", 0.3)
    assert helper._process is not None
    os.kill(helper._process.pid, signal.SIGSTOP)
    with pytest.raises(AssetError, match="the decoder crashed or hung over it"):
        decoded()


def test_a_helper_that_does_not_start_is_the_machines_fault(
    helper: decoders._Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "_PAUSE_S", 0.01)
    (tmp_path / "curate").mkdir()
    for name in ("__init__.py", "decoders.py"):  # the code is laid down anew, and not done yet
        (tmp_path / "curate" / name).touch()
    with monkeypatch.context() as nowhere:
        nowhere.setattr(decoders, "_ROOT", tmp_path)
        with pytest.raises(MachineError, match="did not start 3 times; see what it says"):
            decoded()
    np.testing.assert_array_equal(decoded(), VALUES)
