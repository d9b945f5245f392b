"""Bodies in memory and on disk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.spool import Spool


@given(st.lists(st.binary(max_size=50)), st.integers(0, 60))
def test_what_is_written_comes_back(pieces, memory):
    spool = Spool(memory)
    for piece in pieces:
        spool.write(piece)
    whole = b"".join(pieces)
    assert len(spool) == len(whole)
    assert spool.on_disk is (0 < memory < len(whole))
    assert bytes(memoryview(spool.finish())) == whole


def test_a_file_has_no_name_and_ends_with_its_user(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool(1)
    spool.write(b"abc")
    body = spool.finish()
    assert list(tmp_path.iterdir()) == []
    assert body[1:] == b"bc"
