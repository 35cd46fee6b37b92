"""Checkpoints of several processes: whole or absent, bit for bit, and no code in them."""

from __future__ import annotations

import io
import pickle

import pytest
import torch
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING

from ofmu.engine.launched import ALONE
from ofmu.engine.sharded_checkpoint import _Careful, load_sharded
from ofmu.errors import UserError
from processes import exits, together


def test_a_sharded_checkpoint_is_whole_or_absent_and_comes_back_bit_for_bit(tmp_path):
    together("checkpoint", tmp_path)
    together("other_size", tmp_path, size=1)


def test_a_process_killed_while_it_writes_leaves_the_previous_save_whole(tmp_path):
    codes = exits("killed", tmp_path)
    assert codes[1] == 9
    assert codes[0] != 0  # the other one does not go on alone
    together("after_kill", tmp_path)


def test_metadata_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    with pytest.raises(pickle.UnpicklingError, match=r"holds builtins\.print"):
        _Careful(io.BytesIO(pickle.dumps(Evil()))).load()


def test_members_of_an_enum_are_read_as_every_python_writes_them_and_no_other_attribute():
    class Asked:
        def __init__(self, *what):
            self.what = what

        def __reduce__(self):
            return getattr, self.what  # as Python 3.11.2 writes a member

    member = _MEM_FORMAT_ENCODING.TORCH_PRESERVE_FORMAT
    for written in (member, Asked(_MEM_FORMAT_ENCODING, member.name)):
        assert _Careful(io.BytesIO(pickle.dumps(written))).load() is member
    for kind, name in ((torch.Size, "index"), (_MEM_FORMAT_ENCODING, "__class__")):
        with pytest.raises(pickle.UnpicklingError, match=f"asks for {name} of"):
            _Careful(io.BytesIO(pickle.dumps(Asked(kind, name)))).load()


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="found no save"):
        load_sharded(tmp_path, ALONE)
    (tmp_path / "save-1").mkdir()
    (tmp_path / "save-1" / "process-0.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        load_sharded(tmp_path, ALONE)
