import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from cli_world import no_new_files
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.output import Output
from ofmu.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupted(out):
    """A run that fails after its first checkpoint."""

    def run():
        with Output(out) as output:
            save_state(output.checkpoint, {"step": 3})
            (output.folder / "half").write_text("x")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash") as caught:
        run()
    return caught.value


def test_out_appears_whole_at_the_end(tmp_path):
    out = tmp_path / "out"
    with Output(out) as output:
        assert not output.resuming
        (output.folder / "model").mkdir()
        (output.folder / "model" / "w").write_text("weights")
        save_state(output.checkpoint, {"step": 1})
        assert not out.exists()
    assert (out / "model" / "w").read_text() == "weights"
    assert names(tmp_path) == ["out"]
    assert names(out) == ["model"]  # no checkpoint, no lock


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with Output(tmp_path / "out") as output:
        (output.folder / "a").touch()
    assert names(tmp_path / "out") == ["a"]


def test_a_failure_without_a_checkpoint_leaves_nothing_and_says_so(tmp_path):
    def run():
        with Output(tmp_path / "out") as output:
            (output.folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run()
    assert names(tmp_path) == []
    assert caught.value.__notes__ == [f"Nothing was written to {tmp_path / 'out'}."]


def test_a_failure_with_a_checkpoint_can_be_resumed(tmp_path):
    out = tmp_path / "out"
    error = interrupted(out)
    assert names(tmp_path) == ["out.partial"]
    assert "--resume" in error.__notes__[0]
    assert "out.partial" in error.__notes__[0]
    with pytest.raises(UserError, match=r"out\.partial holds an interrupted run; go on with --resume, or discard"):
        Output(out).__enter__()
    with Output(out, resume=True) as output:
        assert output.resuming
        assert load_state(output.checkpoint) == {"step": 3}
        assert names(output.folder) == []  # half written outputs are not trusted
        (output.folder / "done").touch()
    assert names(tmp_path) == ["out"]
    assert names(out) == ["done"]


def test_an_interrupted_run_can_be_discarded(tmp_path):
    interrupted(tmp_path / "out")
    with Output(tmp_path / "out", overwrite=True) as output:
        assert not output.resuming
        assert not output.checkpoint.exists()


def test_resume_with_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(UserError, match="--resume: found no interrupted run"):
        Output(tmp_path / "out", resume=True).__enter__()
    assert names(tmp_path) == []


def test_a_run_killed_before_its_first_checkpoint_is_in_nobodys_way(tmp_path):
    for resume in (False, True):
        work = tmp_path / "out.partial"
        work.mkdir()
        (work / "lock").touch()
        (work / "new").mkdir()
        (work / "new" / "half").touch()
        with Output(tmp_path / "out", resume=resume) as output:
            assert not output.resuming
            assert names(output.folder) == []
        shutil.rmtree(tmp_path / "out")


def test_what_is_there_is_not_replaced_unasked(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(
        UserError, match=r"out is there already and is not empty; choose another name, .*--overwrite"
    ):
        Output(out).__enter__()
    assert names(tmp_path) == ["out"]
    with Output(out, overwrite=True) as output:
        (output.folder / "new").touch()
        assert names(out) == ["precious"]  # until the end
    assert names(out) == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_failed_overwrite_keeps_what_was_there(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    replace = os.replace

    def fail_on_new(source, target):
        if source.name == "new":
            raise OSError(errno.EIO, "disk broke")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_on_new)
    output = Output(out, overwrite=True).__enter__()
    with pytest.raises(OSError, match="disk broke"):
        output.__exit__(None, None, None)
    assert names(out) == ["precious"]
    assert names(tmp_path) == ["out"]


def test_an_overwrite_killed_between_its_renames_is_undone(tmp_path):
    work = tmp_path / "out.partial"
    (work / "old").mkdir(parents=True)
    (work / "old" / "precious").touch()
    (work / "lock").touch()
    with pytest.raises(UserError, match="not empty"):
        Output(tmp_path / "out").__enter__()
    assert names(tmp_path / "out") == ["precious"]


@pytest.mark.parametrize("where", ["cwd", "home"])
def test_overwriting_a_folder_one_lives_in_is_refused(tmp_path, monkeypatch, where):
    inner = tmp_path / "out" / "inner"
    inner.mkdir(parents=True)
    if where == "cwd":
        monkeypatch.chdir(inner)
    else:
        monkeypatch.setenv("HOME", str(inner))
    with pytest.raises(UserError, match=r"--overwrite: .* holds "):
        Output(tmp_path / "out", overwrite=True).__enter__()
    assert inner.is_dir()


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(UserError, match="out is a file"):
        Output(tmp_path / "out", overwrite=True).__enter__()
    (tmp_path / "other.partial").write_text("x")
    with pytest.raises(UserError, match=r"other\.partial is a file"):
        Output(tmp_path / "other").__enter__()
    assert names(tmp_path) == ["other.partial", "out"]


def test_a_folder_that_only_has_our_name_is_left_alone(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis").touch()
    with pytest.raises(UserError, match="was not made by a run"):
        Output(tmp_path / "out", overwrite=True).__enter__()
    assert names(tmp_path / "out.partial") == ["thesis"]


def test_a_missing_or_read_only_parent_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"found no folder .*none; make it first \(mkdir -p"):
        Output(tmp_path / "none" / "out").__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out: .*file is a file, expected a folder; choose another name"):
        Output(tmp_path / "file" / "out").__enter__()
    no_new_files(monkeypatch)
    with pytest.raises(UserError, match=r"--out: .* cannot be written to \(Permission denied\)"):
        Output(tmp_path / "out").__enter__()
    assert names(tmp_path) == ["file"]


def test_too_little_room_is_found_before_the_run(tmp_path):
    with pytest.raises(UserError, match=r"--out: 1024\.0 TiB needed on the disk of .*, found .* free"):
        Output(tmp_path / "out", need_bytes=2**50).__enter__()
    assert names(tmp_path) == []


def test_two_runs_cannot_write_one_folder(tmp_path):
    with Output(tmp_path / "out") as output:
        with pytest.raises(UserError, match="another run is writing"):
            Output(tmp_path / "out", overwrite=True).__enter__()
        (output.folder / "a").touch()
    assert names(tmp_path / "out") == ["a"]


def test_a_killed_run_can_be_resumed(tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from ofmu.engine.checkpoint import save_state
from ofmu.engine.output import Output
with Output(Path(sys.argv[1])) as output:
    save_state(output.checkpoint, {"step": 7})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], check=False)
    assert done.returncode == -signal.SIGKILL
    with Output(tmp_path / "out", resume=True) as output:
        assert load_state(output.checkpoint) == {"step": 7}


def test_a_run_that_finds_out_later_what_it_needs_is_refused_before_it_starts(tmp_path):
    with pytest.raises(UserError, match="needed on the disk"), Output(tmp_path / "out") as out:
        out.require(2**60)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def interrupted_processes(out):
    """A run of several processes that is stopped after its first checkpoint."""

    def run():
        with Output(out, sharded=True) as output:
            (output.checkpoint / "save-1").mkdir(parents=True)
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        run()


def test_a_run_of_several_processes_is_resumed_by_several_alone(tmp_path):
    interrupted_processes(tmp_path / "out")
    with pytest.raises(UserError, match="holds a run of several processes, found one"):
        Output(tmp_path / "out", resume=True).__enter__()
    with pytest.raises(UserError, match="holds an interrupted run"):
        Output(tmp_path / "out").__enter__()
    with Output(tmp_path / "out", resume=True, sharded=True) as out:
        assert out.resuming
    assert (tmp_path / "out").is_dir()


def test_an_interrupted_run_of_several_processes_is_discarded_by_overwrite(tmp_path):
    interrupted_processes(tmp_path / "out")
    with Output(tmp_path / "out", overwrite=True) as out:
        assert not out.resuming
        assert not (out.work / "checkpoint").exists()
