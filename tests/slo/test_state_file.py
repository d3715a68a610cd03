"""The state file: always whole, one for each process, and nothing that stands in it does harm."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from asgi_resilience.slo import StateFile

STATES = {"availability": {"minute": 5}}


def test_what_is_saved_is_loaded(tmp_path):
    """By the next process, after this one has let go; first there is nothing."""
    path = tmp_path / "slo.json"
    file = StateFile(path)
    assert file.load() == {}
    file.save(STATES)
    file.save(STATES)
    file.close()
    file.close()
    assert StateFile(path).load() == STATES
    assert sorted(each.name for each in tmp_path.iterdir()) == ["slo.json", "slo.json.lock"]


def test_each_process_has_its_own_file(tmp_path):
    """Workers with the same path take the first file that is free, so a restart of all loses none."""
    path = tmp_path / "slo.json"
    files = [StateFile(path) for _ in range(3)]
    for number, file in enumerate(files):
        assert file.load() == {}
        file.save({"number": number})
    assert [file.path.name for file in files] == ["slo.json", "slo.json.1", "slo.json.2"]
    files[1].close()
    again = StateFile(path)
    assert again.load() == again.load() == {"number": 1}
    for file in (*files, again):
        file.close()


def test_the_lock_ends_with_the_process(tmp_path):
    """Also with one that was killed: the next one finds its file."""
    path = tmp_path / "slo.json"
    program = (
        "import os, sys; from asgi_resilience.slo import StateFile; file = StateFile(sys.argv[1]); file.load();"
        "file.save({'its': 1}); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False, env=environment)
    assert killed.returncode == -9
    file = StateFile(path)
    assert file.load() == {"its": 1}
    assert file.path == path
    file.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ('{"version": 1, "slo', "it is not JSON"),
        ("\xff\xfe", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not a state of error budgets"),
        ('{"slos": {}}', "it is not a state of error budgets"),
        ('{"version": 0, "slos": {}}', "it is of version 0, expected 1"),
        ('{"version": 2, "slos": {}}', "it is of version 2, expected 1"),
        ('{"version": 1, "slos": []}', "version 1"),
    ],
)
def test_a_file_that_can_not_be_read_says_why(tmp_path, text, reason):
    """Cut short, not ours, or of another version: a ValueError, and the file can be replaced."""
    path = tmp_path / "slo.json"
    path.write_text(text, encoding="latin-1")
    file = StateFile(path)
    with pytest.raises(ValueError, match=reason):
        file.load()
    file.save(STATES)
    assert file.load() == STATES
    file.close()


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    """A full disk costs the newest state, not the file, and leaves no draft behind."""
    file = StateFile(tmp_path / "slo.json")
    file.load()
    file.save(STATES)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        file.save({})
    assert file.load() == STATES
    assert sorted(each.name for each in tmp_path.iterdir()) == ["slo.json", "slo.json.lock"]
    file.close()


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    """It is neither made nor passed over."""
    with pytest.raises(FileNotFoundError):
        StateFile(tmp_path / "absent" / "slo.json").load()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EWOULDBLOCK])
def test_a_file_that_can_not_be_locked_is_not_taken(tmp_path, monkeypatch, number):
    """On a file system without locks, or when every one of them is held."""

    def refuse(descriptor, operation):
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr("asgi_resilience.slo.state_file._MOST_FILES", 3)
    with pytest.raises(OSError, match="refused" if number == errno.ENOLCK else "3 processes hold"):
        StateFile(tmp_path / "slo.json").load()


def test_the_file_is_plain_json(tmp_path):
    """People may look into it."""
    file = StateFile(str(tmp_path / "slo.json"))
    file.load()
    file.save(STATES)
    file.close()
    assert json.loads((tmp_path / "slo.json").read_text()) == {"version": 1, "slos": STATES}
