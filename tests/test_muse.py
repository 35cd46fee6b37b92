"""MUSE: a stand-in of the hub's layout, the numbers by hand, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ofmu import metrics
from ofmu.benchmarks.answering import continued
from ofmu.benchmarks.muse import MuseView, answer_of, muse_rows, request_rows, view_muse
from ofmu.cli.main import run
from ofmu.data.encode import Encoder
from ofmu.data.muse import load_muse, muse_requests, muse_texts
from ofmu.data.people import people
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.models import LoadedModel, save_model
from ofmu.errors import UserError

WORLD = people(5, forget=1, retain=1, heldout=1, unseen=0, questions=4)


def texts(records):
    return [{"text": f"{record.prompt} {record.completion}"} for record in records]


def qa(records):
    return [{"question": record.prompt, "answer": record.completion} for record in records]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Shards as the hub names them; the texts are about people who do not exist."""
    root = tmp_path_factory.mktemp("data") / "MUSE-News"
    forget, retain, heldout = WORLD.forget, WORLD.retain, WORLD.heldout
    parts = {
        "raw": {
            "forget": texts(forget),
            "retain1": texts(retain),
            "retain2": texts(retain),
            "holdout": texts(heldout),
        },
        "verbmem": {"forget": [{"prompt": record.prompt, "gt": record.completion} for record in forget]},
        "knowmem": {
            "forget_qa": qa(forget[1:]),
            "forget_qa_icl": qa(forget[:1]),
            "retain_qa": qa(retain[1:]),
            "retain_qa_icl": qa(retain[:1]),
        },
        "privleak": {"forget": texts(forget), "retain": texts(retain), "holdout": texts(heldout)},
        "scal": {f"forget_{i}": texts(forget[:i]) for i in range(1, 5)},
        "sust": {f"forget_{i}": texts(forget[i - 1 : i]) for i in range(1, 5)},
    }
    for configuration, splits in parts.items():
        for split, rows in splits.items():
            path = root / configuration / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), path)
    return root


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    tokenizer = train_tokenizer([row["text"] for row in texts(WORLD.retain)], 300)
    config = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 192}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    return LoadedModel(from_scratch({**config, **heads, **ids}, 0).eval(), "text", tokenizer)


def test_the_layout_of_the_hub_is_read(folder):
    muse = load_muse(folder)
    assert muse.name == "MUSE-News"
    assert muse.verbmem[1] == (WORLD.forget[1].prompt, WORLD.forget[1].completion)
    assert [len(part) for part in (muse.forget_qa, muse.forget_examples, muse.retain_qa)] == [3, 1, 3]
    assert [record.text for record in muse.holdout] == [row["text"] for row in texts(WORLD.heldout)]
    assert [len(request) for request in muse_requests(folder, "scal")] == [1, 2, 3, 4]
    assert [len(request) for request in muse_requests(folder, "sust")] == [1, 1, 1, 1]
    assert len(muse_texts(folder, "raw", "retain2")) == 4
    few = muse.first(2)
    assert (len(few.verbmem), len(few.forget_examples), len(few.holdout)) == (2, 1, 2)


def test_what_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"has no raw/train-\*\.parquet"):
        muse_texts(folder, "raw", "train")
    with pytest.raises(UserError, match="muse-bench/MUSE-News"):
        load_muse(tmp_path / "none")
    with pytest.raises(UserError, match="kind: found 'raw'"):
        muse_requests(folder, "raw")
    with pytest.raises(UserError, match="expected at least 2"):
        load_muse(folder).first(1)
    (tmp_path / "knowmem").mkdir()
    (tmp_path / "knowmem" / "forget_qa.jsonl").write_text('{"question": "Who?", "answer": " "}\n')
    with pytest.raises(UserError, match="expected text in question and answer"):
        load_muse(tmp_path)


@torch.no_grad()
def greedy(model, ids, longest):
    """Token by token, without a cache or padding."""
    start = len(ids)
    while len(ids) - start < longest:
        ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
        if ids[-1] == 2:
            break
    return ids[start:]


def test_prompts_and_numbers_are_those_of_the_paper(folder, loaded):
    muse, tokenizer, model = load_muse(folder), loaded.tokenizer, loaded.module
    encoder = Encoder(tokenizer, "plain", 192)
    view = view_muse(model, encoder, muse)
    question, truth = muse.forget_qa[0]
    (shown, answered) = muse.forget_examples[0]
    prompt = f"Question: {shown}\nAnswer: {answered}\n\nQuestion: {question}\nAnswer: "
    ids = tokenizer(prompt)["input_ids"][-(192 - 32) :]
    said = answer_of(tokenizer.decode(greedy(model, ids, 32), skip_special_tokens=True))
    assert view.forget_knowledge[0] == pytest.approx(metrics.rouge_l_f1(said, truth))
    opening, rest = muse.verbmem[2]
    ids = tokenizer(opening)["input_ids"][-(192 - 128) :]
    (told,) = continued(model, tokenizer, [ids], 128, 1)
    assert view.verbmem[2] == pytest.approx(metrics.rouge_l_f1(told, rest))
    lowest = []
    for part in (muse.forget, muse.holdout):
        scores = []
        for record in part:
            ids = encoder(record)[0]
            with torch.no_grad():
                log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            true = [min(0.0, float(log_p[i, token])) for i, token in enumerate(ids[1:])]
            scores.append(metrics.min_k(true, 0.4))
        lowest.append(np.array(scores))
    assert [view.attacked.tolist(), view.unseen.tolist()] == [pytest.approx(each) for each in lowest]


@pytest.mark.parametrize(("text", "answer"), [("Rome.\n\nQ", "Rome."), ("a\nQuestion: b", "a"), ("x y", "x y")])
def test_an_answer_ends_where_the_model_asks_itself(text, answer):
    assert answer_of(text) == answer


def seen(verbmem, forget, retain, members):
    return MuseView(*map(np.array, (verbmem, forget, retain, members, [1.0, 2.0, 3.0, 4.0, 5.0])))


def test_rows_by_hand():
    # of ten pairs six, five and all are found: AUC .6, .5 and 1
    ours, gold = seen([0.5, 1.0], [0.2], [0.4, 0.8], [3.5, 3.5]), seen([0.0, 0.5], [0.1], [1.0, 1.0], [2.5, 3.5])
    rows = {row.metric: row for row in muse_rows("t", "Model", 0, ours, gold)}
    assert {name: round(row.value, 9) for name, row in rows.items()} == {
        "verbmem_forget": 75,
        "knowmem_forget": 20,
        "knowmem_retain": 60,
        "privleak": -20,  # 100 (.4 − .5) / .5: the forgotten texts are found more easily than on Retrain
    }
    assert rows["knowmem_retain"].higher_is_better is True
    assert "--retrain" in {row.metric: row for row in muse_rows("t", "M", 0, ours, None)}["privleak"].missing
    surely = muse_rows("t", "M", 0, ours, seen([0.0, 0.5], [0.1], [1.0, 1.0], [8.0, 9.0]))
    assert "expected less" in surely[-1].missing
    later = request_rows("t, scal", "M", 0, [gold, ours])
    assert [(row.task, row.metric, round(row.value, 9)) for row in later] == [
        ("t, scal, request 1", "knowmem_retain", 100),
        ("t, scal, request 2", "knowmem_retain", 60),
        ("t, scal", "utility_drop", 40),
    ]
    with pytest.raises(ValueError, match="at least two requests"):
        request_rows("t", "M", 0, [gold])


def test_the_command_measures_each_model_once(folder, loaded, tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    save_model(loaded, model)
    more = ["--retrain", str(model), "--sust", str(model), "--sust", str(model), "--limit", "2"]
    assert run(["score", "muse", "--model", str(model), "--data", str(folder), *more, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = {(row["task"], row["method"], row["metric"]): row["value"] for row in json.loads(out)["rows"]}
    assert rows["MUSE-News, sust", "Model", "utility_drop"] == 0
    assert rows["MUSE-News", "Model", "knowmem_retain"] == rows["MUSE-News", "Retrain", "knowmem_retain"]
    assert " ".join(err.split()).count("privacy leakage") == 1
    assert run(["score", "muse", "--model", "x", "--data", str(folder), "--scal", "y"]) == 2
    assert "--scal: found one model" in capsys.readouterr().err
