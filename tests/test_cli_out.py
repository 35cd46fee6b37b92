"""`--out` that cannot be written is refused before anything is loaded, and nothing is replaced unasked."""

import errno

import pytest

from cli_world import no_new_files
from ofmu.cli.main import run

# none of these models and data are there: a command that looked at them first would say so
GIVEN = ["--model", "./no/model", "--forget", "no-forget", "--retain", "no-retain"]
FILE = {"evaluate": ["evaluate", *GIVEN], "compare": ["compare", "no-run"]}
FOLDER = {
    "attack": ["attack", *GIVEN, "--heldout", "no-heldout"],
    "score tofu": ["score", "tofu", "--log", "no-log"],
    "demo": ["demo"],
    "bench": ["bench", "digits"],
    "bench tofu": ["bench", "tofu", "--model", "./no/model"],
    "bench pareto": ["bench", "pareto", "--smoke"],
    "bench targets": ["bench", "targets", "--smoke"],
}
RUNS = {"unlearn": ["unlearn", *GIVEN], "train": ["train", "--model", "./no/model", "--data", "no-data"]}
ALL = FILE | FOLDER | RUNS
WRITES = {"attack": "report.html", "score tofu": "TOFU_EVAL.json"}


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Run a command with that --out, and give back the message."""

    def refuse(words, out, code=2):
        monkeypatch.chdir(tmp_path)
        before = sorted(str(path) for path in tmp_path.rglob("*"))
        assert run([*words, "--out", str(out)]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("ofmu: --out: "), said.err  # and no note of work before it
        assert sorted(str(path) for path in tmp_path.rglob("*")) == before
        return " ".join(said.err.split())

    return refuse


@pytest.mark.parametrize("command", ALL)
def test_a_folder_under_a_file(refused, tmp_path, command):
    (tmp_path / "afile").touch()
    place = "" if command == "bench" else "/x"
    said = refused(ALL[command], f"afile{place}")
    assert f"{tmp_path / 'afile'} is a file, expected a folder; choose another name" in said


@pytest.mark.parametrize("command", ALL)
def test_a_folder_that_cannot_be_written(refused, tmp_path, monkeypatch, command):
    no_new_files(monkeypatch)
    assert "cannot be written to (Permission denied)" in refused(ALL[command], "new")
    no_new_files(monkeypatch, errno.ENOSPC)
    assert "(No space left on device)" in refused(ALL[command], "new", code=1)  # no mistake of the user


@pytest.mark.parametrize("command", FOLDER)
def test_a_file_is_no_folder(refused, tmp_path, command):
    (tmp_path / "afile").touch()
    assert "is a file, expected a folder" in refused(FOLDER[command], "afile")


@pytest.mark.parametrize("command", FILE)
def test_a_file_that_is_there_or_is_a_folder(refused, tmp_path, command):
    (tmp_path / "precious").write_text("mine")
    assert "found precious there already" in refused(FILE[command], "precious")
    assert "replace what is there with --overwrite" in refused(FILE[command], "precious")
    assert "is a folder, expected the name of a file" in refused(FILE[command], tmp_path)
    assert run([*FILE[command], "--out", "precious", "--overwrite"]) == 2  # it goes on to what is missing else
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("command", WRITES)
def test_files_of_a_folder_that_are_there(refused, tmp_path, capsys, command):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").touch()
    (tmp_path / "run" / WRITES[command]).write_text("mine")
    assert f"found run/{WRITES[command]} there already" in refused(FOLDER[command], "run")
    assert run([*FOLDER[command], "--out", "run", "--overwrite"]) == 2
    assert "--out" not in capsys.readouterr().err
    (tmp_path / "run" / WRITES[command]).unlink()
    assert run([*FOLDER[command], "--out", "run"]) == 2  # what is not replaced is in nobody's way
    assert "--out" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [name for name in FOLDER if name.startswith(("demo", "bench"))])
def test_benchmarks_replace_no_run(refused, tmp_path, command):
    """They may write into their own folder again; the report of a run is lost there."""
    folder = tmp_path / "out" / "digits" if command == "bench" else tmp_path / "out"
    (folder / "model").mkdir(parents=True)
    (folder / "scores.json").touch()
    assert "holds a finished run of ofmu unlearn" in refused(FOLDER[command], "out")


def test_home_is_meant_by_a_tilde(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "afile").touch()
    for words in ALL.values():
        assert f"{tmp_path}/afile is a file" in refused(words, "~/afile/x")
