"""Files are whole or as they were before."""

import json
import os
import stat

import pytest

from hf_vasso.results.files import write_json, write_text


def test_write_makes_the_folder_and_replaces(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": 1, "a": 2})
    write_json(path, {"c": 3})
    assert json.loads(path.read_text()) == {"c": 3}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full_disk(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644
