"""What lies in a directory is looked at once, never waited for, and never mistaken for gone."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.sources import folder
from controller.sources.folder import Unreadable, look_at, read


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may be 107 bytes long
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(folder.MOST_BYTES + 1)


# what is made -> why it is not read
ODD: list[tuple[Callable[[Path], None], str]] = [
    (fifo, "it is a FIFO, not a regular file"),
    (unix_socket, "it is a socket, not a regular file"),
    (zero, "it is a device, not a regular file"),
    (circle, "Too many levels of symbolic links"),
    (dangling, "No such file or directory"),
    (huge, "it is larger than 16777216 bytes; split it"),
]


@pytest.mark.parametrize(("make", "reason"), ODD)
def test_odd_files(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    make(tmp_path / "odd.yaml")
    assert look_at(tmp_path).files == {tmp_path / "odd.yaml": reason}
    began = time.monotonic()
    with pytest.raises(Unreadable):  # it may have become so after it was looked at
        read(tmp_path / "odd.yaml")
    assert time.monotonic() - began < 5.0


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * folder.MOST_BYTES)
    assert len(read(tmp_path / "a.yaml")) == folder.MOST_BYTES


def test_line_ends_and_byte_order_marks(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read(tmp_path / "a.yaml") == "a\nb\nc\n"
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable, match="UTF-8"):
        read(tmp_path / "a.yaml")


def test_each_directory_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    (tmp_path / "z/a.yaml").touch()
    (tmp_path / "z/up").symlink_to("..")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "b").symlink_to("z")
    look = look_at(tmp_path)
    assert list(look.files) == [tmp_path / "z/a.yaml"]
    assert look.again == {
        tmp_path / "self": tmp_path,
        tmp_path / "b": tmp_path / "z",
        tmp_path / "z/up": tmp_path,
    }


def test_a_link_to_another_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.yaml").touch()
    (tmp_path / "m").mkdir()
    (tmp_path / "m/more").symlink_to("../elsewhere")
    assert list(look_at(tmp_path / "m").files) == [tmp_path / "m/more/a.yaml"]


@pytest.mark.parametrize(("limit", "most"), [("MOST_ENTRIES", 11), ("MOST_FOLDERS", 2)])
@pytest.mark.parametrize("beyond", [0, 1])
def test_a_look_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, beyond: int
) -> None:
    """What was not come to is unknown, not gone; the directory's own files come first."""
    monkeypatch.setattr(folder, limit, most - beyond)
    (tmp_path / "own.yaml").touch()
    (tmp_path / "deep").mkdir()
    for number in range(9):
        (tmp_path / f"deep/{number}.yaml").touch()
    look = look_at(tmp_path)
    assert tmp_path / "own.yaml" in look.files
    assert look.unknown(tmp_path / "deep/99.yaml") == bool(beyond)
    assert isinstance(look.folders[tmp_path], str) == bool(beyond)


def test_what_cannot_be_listed_is_unknown(tmp_path: Path) -> None:
    look = look_at(tmp_path / "gone")
    assert look.unknown(tmp_path / "gone/x/a.yaml") and look.files == {}
    assert not look_at(tmp_path).unknown(tmp_path / "x/a.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_without_permission_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    try:
        assert look_at(tmp_path).unknown(tmp_path / "shut/a.yaml")
    finally:
        (tmp_path / "shut").chmod(stat.S_IRWXU)


def test_any_change_of_a_file_changes_the_look(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a")
    seen = [look_at(tmp_path)]

    def differs() -> bool:
        seen.append(look_at(tmp_path))
        return seen[-1] != seen[-2]

    assert not differs()
    before = file.stat()
    time.sleep(0.02)
    file.write_text("b")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` does
    assert differs()
    (tmp_path / "new").write_text("b")
    (tmp_path / "new").replace(file)
    assert differs()
    file.unlink()
    assert differs()
