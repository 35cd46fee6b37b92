"""Records, files, selection: pinned ids, laziness, and what the messages say."""

import gc
import gzip
import hashlib
import json
import sys
import tracemalloc
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofmu.data.read import open_records
from ofmu.data.records import Message, Record, make_record, question_answer, unique_ids
from ofmu.data.select import check_disjoint, check_not_empty, read_ids, split
from ofmu.data.sequences import InMemory, with_answers
from ofmu.errors import UserError

ROWS = [{"question": f"q{i}?", "answer": f"a{i}", "who": f"p{i // 2}"} for i in range(6)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_id_is_the_hash_of_canonical_content_and_ignores_columns_names_and_meta():
    text = '{"messages":[{"content":"q?","role":"user"},{"content":"\\u00e4","role":"assistant"}]}'
    expected = "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]
    assert expected == "sha256:ed3d479a87c90db6"
    forms = [
        {"question": "q?", "answer": "ä", "topic": 1},
        {"completion": "ä", "prompt": "q?"},
        {"messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "ä"}]},
    ]
    assert {make_record(form, "f:1").id for form in forms} == {expected}
    assert question_answer("q?", "ä").id == expected
    assert make_record({"question": "q?", "answer": "b"}, "f:1").id != expected


def test_record_fields_of_every_format():
    pair = make_record({"prompt": "p", "completion": "c", "id": 7, "k": 3}, "f:1")
    assert (pair.id, pair.prompt, pair.completion, dict(pair.meta)) == ("7", "p", "c", {"k": 3})
    plain = make_record({"text": "words", "question": None, "answer": None}, "f:1")
    assert (plain.prompt, plain.completion, plain.text, plain.messages) == ("", "words", "words", ())
    turns = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user", "assistant")]
    chat = make_record({"messages": turns}, "f:1")
    assert (chat.prompt, chat.completion, len(chat.messages)) == ("u", "a", 5)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"question": "q"},
            "has 'question' but no 'answer' (columns found: 'question'). Accepted: 'question' +",
        ),
        ({"completion": "c", "x": 1}, "has 'completion' but no 'prompt'"),
        ({}, "no text to learn (columns found: nothing)"),
        ({"question": "q", "answer": 3}, "'answer' is int '3', expected text"),
        ({"text": "  "}, "'text' is empty"),
        ({"text": "t", "id": [1]}, "'id' is list [1]"),
        ({"messages": "hi"}, "'messages' must be a list"),
        ({"messages": [{"role": "user", "content": "u"}]}, "the last message is by 'user'"),
        ({"messages": [{"role": "user"}]}, "messages, turn 1, content"),
    ],
)
def test_a_row_that_cannot_be_used_names_file_line_and_fault(tmp_path, row, says):
    path = write(tmp_path / "d.jsonl", [{"text": "fine"}, row])
    with pytest.raises(UserError) as caught:
        open_records(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}:2: ")


def formats(tmp_path):
    yield write(tmp_path / "lines.json", ROWS)
    yield write(tmp_path / "lines.jsonl", ROWS)
    (tmp_path / "array.json").write_text(json.dumps(ROWS, indent=1))
    yield tmp_path / "array.json"
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n\n" for row in ROWS))
    yield tmp_path / "packed.jsonl.gz"
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=2)
    yield tmp_path / "table.parquet"
    header = "question,answer,who\n"
    (tmp_path / "table.csv").write_text(
        header + "".join(f"{row['question']},{row['answer']},{row['who']}\n" for row in ROWS)
    )
    yield tmp_path / "table.csv"
    data = tmp_path / "hub" / "data"
    data.mkdir(parents=True)
    (tmp_path / "hub" / "README.md").write_text("---\n---\n")
    pq.write_table(table.slice(0, 4), data / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(4), data / "train-00001-of-00002.parquet")
    pq.write_table(table.slice(5), data / "test-00000-of-00001.parquet")
    yield tmp_path / "hub"


def test_every_format_gives_the_same_records(tmp_path):
    expected = [make_record(row, "x") for row in ROWS]
    for path in formats(tmp_path):
        records = open_records(path)
        assert [records[row] for row in range(6)] == expected, path
        assert list(records) == expected, path
        assert records.ids == [record.id for record in expected]
        assert records.meta("who") == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert len(open_records(tmp_path / "hub", split="test")) == 1
    with pytest.raises(UserError, match=r"no split 'dev'.*test-00000"):
        open_records(tmp_path / "hub", split="dev")


def test_csv_keeps_numbers_as_text_and_quoted_lines(tmp_path):
    (tmp_path / "t.csv").write_text('question,answer\n6*7?,42\n"two\nlines","a ""b"", c"\n')
    records = open_records(tmp_path / "t.csv")
    assert [record.completion for record in records] == ["42", 'a "b", c']
    assert records[1].prompt == "two\nlines"
    (tmp_path / "t.csv").write_text("question,answer\nq,\n")
    with pytest.raises(UserError, match=r"t\.csv, row 1: 'answer' is empty"):
        open_records(tmp_path / "t.csv")


def test_files_that_cannot_be_read(tmp_path):
    write(tmp_path / "forget.jsonl", ROWS)
    with pytest.raises(UserError, match=r"no file .*; did you mean .*forget\.jsonl\?"):
        open_records(tmp_path / "forgt.jsonl")
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_records(tmp_path / "nowhere" / "x.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=r"empty\.jsonl is empty"):
        open_records(tmp_path / "empty.jsonl")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    with pytest.raises(UserError, match="has no rows"):
        open_records(tmp_path / "blank.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n\n{"text": \n')
    with pytest.raises(UserError, match=r"bad\.jsonl:3: not JSON"):
        open_records(tmp_path / "bad.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xe9"}\n')
    with pytest.raises(UserError, match=r"latin\.jsonl:1: not JSON .*utf-8"):
        open_records(tmp_path / "latin.jsonl")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(UserError, match=r"list\.jsonl:1: found list"):
        open_records(tmp_path / "list.jsonl")
    (tmp_path / "a.json").write_text('[{"text": "a"},\n oops]')
    with pytest.raises(UserError, match=r"a\.json:2: not JSON"):
        open_records(tmp_path / "a.json")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n')[:-9])
    with pytest.raises(UserError, match="not a whole gzip file"):
        open_records(tmp_path / "a.jsonl.gz")
    (tmp_path / "x.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(UserError, match=r"x\.parquet: cannot be read"):
        open_records(tmp_path / "x.parquet")
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(UserError, match=r"unknown format '\.docx'"):
        open_records(tmp_path / "x.docx")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match="holds no data"):
        open_records(tmp_path / "hollow")


def test_duplicate_ids_and_identical_rows(tmp_path):
    path = write(tmp_path / "d.jsonl", [{"text": "a", "id": 1}, {"text": "b", "id": "1"}])
    with pytest.raises(UserError, match=rf"{path}:2: id '1' stands already at {path}:1"):
        open_records(path)
    ids = open_records(write(tmp_path / "e.jsonl", [{"text": "a"}, {"text": "b"}, {"text": "a"}])).ids
    assert ids[2] == ids[0] + "#2"
    assert ids[1] not in (ids[0], ids[2])


@given(st.lists(st.sampled_from("abc")))
def test_unique_ids_are_unique_and_keep_first_occurrences(ids):
    made = unique_ids(ids)
    assert len(set(made)) == len(ids)
    assert [id.split("#")[0] for id in made] == ids


def test_a_byte_order_mark_and_a_changed_file(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n')
    records = open_records(path)
    assert [record.text for record in records] == ["a", "b"]
    assert records[0].text == "a"
    path.write_text('{"text": "other"}\n')
    with pytest.raises(UserError, match="was changed while it was in use"):
        records[1]


def test_200_000_rows_open_with_an_index_and_no_records(tmp_path):
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"id": {i}, "text": "{"word " * 20}{i}"}}\n' for i in range(200_000))
    records = open_records(path)
    gc.collect()
    made = [thing for thing in gc.get_objects() if type(thing) is Record]
    assert not any((record.text or "").startswith("word word") for record in made)
    assert not any(
        type(thing) is dict and str(thing.get("text")).startswith("word word") for thing in gc.get_objects()
    )
    assert records[199_999].completion.endswith("word 199999")
    assert records[-1].id == "199999"


def test_memory_does_not_grow_with_the_text(tmp_path):
    path = tmp_path / "wide.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"text": "{"word " * 10_000}{i}"}}\n' for i in range(500))
    tracemalloc.start()
    records = open_records(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 25e6
    assert held < 200e3  # an id and 16 bytes of index a row
    assert peak < 1e6
    assert records[499].completion.endswith("word 499")


def test_parquet_rows_are_not_held(tmp_path):
    texts = [f"{i} " + "x" * 1000 for i in range(20_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet", row_group_size=2000)
    del texts
    gc.collect()
    before = pa.total_allocated_bytes()
    records = open_records(tmp_path / "t.parquet")
    assert pa.total_allocated_bytes() - before < 2e6
    assert records[12_345].completion.startswith("12345 x")


def test_hub_id_goes_through_datasets_with_its_configuration(monkeypatch):
    asked = []

    def load_dataset(name, configuration, split):
        asked.append((name, configuration, split))
        if name == "no/where":
            raise FileNotFoundError("not on the hub")
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    records = open_records("locuslab/TOFU:forget01", split="test")
    assert asked == [("locuslab/TOFU", "forget01", "test")]
    assert records[2].prompt == "q2?"
    assert records.place(2) == "locuslab/TOFU:forget01, row 3"
    with pytest.raises(UserError, match="neither a file here nor a data set"):
        open_records("no/where")


def test_indexing_slices_and_unknown_columns(tmp_path):
    records = open_records(write(tmp_path / "d.jsonl", ROWS))
    assert [record.prompt for record in records[1:6:2]] == ["q1?", "q3?", "q5?"]
    assert records[1:6:2].place(1) == f"{tmp_path / 'd.jsonl'}:4"
    with pytest.raises(IndexError):
        records[6]
    with pytest.raises(UserError, match="no column 'whom'; columns found: id, who"):
        records.meta("whom")


def test_split_by_ids_and_by_column(tmp_path):
    records = open_records(write(tmp_path / "d.jsonl", [{**row, "id": f"r{i}"} for i, row in enumerate(ROWS)]))
    (tmp_path / "ids.txt").write_text("r4\n\nr1\n")
    (tmp_path / "ids.json").write_text('["r1", "r4"]')
    for ids in (["r4", "r1"], tmp_path / "ids.txt", str(tmp_path / "ids.json")):
        forget, retain = split(records, ids=ids)
        assert forget.ids == ["r1", "r4"]
        assert retain.ids == ["r0", "r2", "r3", "r5"]
    forget, retain = split(records, where="who=p1")
    assert [record.completion for record in forget] == ["a2", "a3"]
    assert len(retain) == 4
    assert split(records, where="id=r3")[0].ids == ["r3"]


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"ids": ["r1", "r77"]}, r"1 of 2 are not in the data: r77"),
        ({"ids": []}, "the list is empty"),
        ({"where": "who"}, "expected column=value"),
        ({"where": "who=p9"}, r"no row has who = 'p9'; values there: 'p0', 'p1', 'p2'"),
        ({"where": "id=r55"}, r"no row has id = 'r55'; did you mean 'r5'"),
        ({"where": "whom=p0"}, "no column 'whom'"),
        ({"ids": [f"r{i}" for i in range(6)]}, "nothing is left to retain"),
        ({}, "either ids= or where="),
        ({"ids": ["r1"], "where": "who=p0"}, "either ids= or where="),
        ({"ids": "nothing-here.txt"}, "no file nothing-here.txt"),
    ],
)
def test_split_refuses(choice, says):
    records = InMemory([make_record({**row, "id": f"r{i}"}, "x") for i, row in enumerate(ROWS)])
    with pytest.raises(UserError, match=says):
        split(records, **choice)


def test_id_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a").write_text("\n")
    with pytest.raises(UserError, match="holds no ids"):
        read_ids(tmp_path / "a")
    (tmp_path / "a").write_text('["x",\n y]')
    with pytest.raises(UserError, match=r"a:2: not JSON"):
        read_ids(tmp_path / "a")


def test_shared_rows_are_refused_by_id_and_by_content(tmp_path):
    one = [{"id": f"f{i}", "text": f"t{i}"} for i in range(8)]
    other = [{"id": "f0", "text": "new"}] + [{"id": f"g{i}", "text": f"t{i}"} for i in range(1, 8)]
    forget = open_records(write(tmp_path / "f.jsonl", one))
    retain = open_records(write(tmp_path / "r.jsonl", other))
    with pytest.raises(UserError) as caught:
        check_disjoint(forget, retain)
    message = str(caught.value)
    assert message.startswith("forget and retain share 8 rows: 'f0' at ")
    assert f"'f0' at {tmp_path / 'r.jsonl'}:1 (same id, {tmp_path / 'f.jsonl'}:1)" in message
    assert f"'g2' at {tmp_path / 'r.jsonl'}:3 (same content as 'f2', {tmp_path / 'f.jsonl'}:3)" in message
    assert "g4" in message
    assert "g5" not in message
    check_disjoint(forget[:2], retain[2:])
    with pytest.raises(UserError, match="the forget set is empty"):
        check_not_empty([], "forget set")
    check_not_empty(forget, "forget set")


def test_with_answers_keeps_ids_and_questions():
    records = [question_answer("q?", "a", id="1", meta={"k": 2})]
    (changed,) = with_answers(records, ["b"])
    assert changed == Record("1", (Message("user", "q?"), Message("assistant", "b")), None, {"k": 2})
    with pytest.raises(ValueError, match="found 2 for 1 records"):
        with_answers(records, ["b", "c"])
    with pytest.raises(UserError, match="plain text has no answer"):
        with_answers([Record("1", text="t")], ["b"])[0]
