"""Templates, masks and padding, with a byte-level tokenizer trained here (every byte is a token)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.records import Message, Record, question_answer
from ofmu.errors import UserError
from ofmu.tasks import IGNORE, Stream

CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}<e>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def byte_tokenizer(chat=None, bos=False):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "<e>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(["Question: who?\nAnswer: me"] * 3, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>" if bos else None, eos_token="<e>", pad_token="<e>"
    )
    made.chat_template = chat
    return made


TOKENIZER = byte_tokenizer()
RECORD = question_answer("Who are you?", "Nobody at all.", id="r1")


def parts(encoder, record):
    ids, labels = encoder(record)
    free = [i for i, label in zip(ids, labels, strict=True) if label == IGNORE]
    learnt = [i for i, label in zip(ids, labels, strict=True) if label != IGNORE]
    assert [label for label in labels if label != IGNORE] == learnt
    assert labels == [IGNORE] * len(free) + learnt
    return encoder.tokenizer.decode(free), encoder.tokenizer.decode(learnt), ids


def test_plain_template_learns_the_answer_and_its_end():
    free, learnt, ids = parts(Encoder(TOKENIZER), RECORD)
    assert free == "Question: Who are you?\nAnswer:"
    assert learnt == " Nobody at all.<e>"
    assert ids[-1] == TOKENIZER.eos_token_id
    assert Encoder(TOKENIZER).prompt(RECORD) == ids[: len(ids) - len(TOKENIZER.encode(" Nobody at all.<e>"))]


def test_chat_template_learns_the_answer_and_its_end_but_not_the_newline_after_it():
    encoder = Encoder.of(byte_tokenizer(CHAT))
    assert encoder.template == "chat"
    free, learnt, _ = parts(encoder, RECORD)
    assert free == "<s>user\nWho are you?<e>\n<s>assistant\n"
    assert learnt == "Nobody at all.<e>"


def test_only_the_last_answer_of_a_conversation_is_learnt():
    turns = [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Bye"),
        ("assistant", "So long"),
    ]
    record = Record("c", tuple(Message(*turn) for turn in turns))
    free, learnt, _ = parts(Encoder(TOKENIZER), record)
    assert free == "Be brief.\nQuestion: Hi\nAnswer: Hello\nQuestion: Bye\nAnswer:"
    assert learnt == " So long<e>"
    free, learnt, _ = parts(Encoder.of(byte_tokenizer(CHAT)), record)
    assert free.endswith("Hello<e>\n<s>user\nBye<e>\n<s>assistant\n")
    assert learnt == "So long<e>"


@pytest.mark.parametrize("chat", [None, CHAT])
def test_plain_text_is_learnt_whole_but_for_its_first_token(chat):
    ids, labels = Encoder.of(byte_tokenizer(chat))(Record("t", text="xyz"))
    assert labels == [IGNORE, *ids[1:]]
    assert TOKENIZER.decode(ids) == "xyz<e>"


def test_a_start_token_is_put_first_where_the_tokenizer_does_so():
    encoder = Encoder(byte_tokenizer(bos=True))
    ids, labels = encoder(RECORD)
    assert ids[0] == 0
    assert 0 not in ids[1:]
    assert labels[0] == IGNORE
    assert encoder.prompt(RECORD) == ids[: len(encoder.prompt(RECORD))]
    ids, labels = encoder(Record("t", text="xyz"))
    assert labels == [IGNORE, *ids[1:]]
    assert len(ids) == 5


@settings(deadline=None, max_examples=30)
@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_the_learnt_tokens_decode_to_the_answer_whatever_it_is(question, answer):
    record = question_answer(question.replace("<", ""), answer.replace("<", ""), id="x")
    ids, labels = Encoder(TOKENIZER, max_length=10_000)(record)
    learnt = [i for i, label in zip(ids, labels, strict=True) if label != IGNORE]
    said = TOKENIZER.decode(learnt, clean_up_tokenization_spaces=False)
    assert said == f" {record.completion}<e>"


def test_truncation_cuts_the_right_and_refuses_to_cut_the_whole_answer():
    full, labels = Encoder(TOKENIZER)(RECORD)
    free = labels.count(IGNORE)
    ids, cut = Encoder(TOKENIZER, max_length=free + 1)(RECORD)
    assert ids == full[: free + 1]
    assert cut == [IGNORE] * free + [full[free]]
    with pytest.raises(UserError, match=rf"row 'r1': the prompt alone has {free} tokens, so max_length = {free}"):
        Encoder(TOKENIZER, max_length=free)(RECORD)
    samples = TextSamples([RECORD], Encoder(TOKENIZER, max_length=free))
    with pytest.raises(UserError, match="records, row 1: the prompt alone"):
        samples.batch([0])


def test_a_template_whose_prompt_is_no_prefix_is_refused():
    odd = "{% for m in messages %}{{ m['content'] }}|{% endfor %}{% if add_generation_prompt %}>>{% endif %}"
    with pytest.raises(UserError, match="row 'r1': with template 'chat' the tokens of the prompt are no prefix"):
        Encoder.of(byte_tokenizer(odd))(RECORD)


def test_settings_rebuild_the_encoder_even_if_the_tokenizer_forgot_its_template():
    chat = Encoder.of(byte_tokenizer(CHAT), max_length=99)
    saved = chat.settings()
    again = Encoder.from_settings(byte_tokenizer("{{ 'other' }}"), saved)
    assert again.settings() == saved == {**saved, "template": "chat", "text": CHAT, "max_length": 99}
    assert again(RECORD) == chat(RECORD)
    plain = Encoder(TOKENIZER)
    assert Encoder.from_settings(TOKENIZER, plain.settings())(RECORD) == plain(RECORD)
    with pytest.raises(UserError, match="another version"):
        Encoder.from_settings(TOKENIZER, {**plain.settings(), "text": "Q: {user}"})


def test_wrong_arguments():
    with pytest.raises(UserError, match="expected 'chat' or 'plain'"):
        Encoder(TOKENIZER, "alpaca")
    with pytest.raises(UserError, match="no \\(single\\) chat template"):
        Encoder(TOKENIZER, "chat")
    with pytest.raises(UserError, match="max_length: found 1"):
        Encoder(TOKENIZER, max_length=1)
    endless = byte_tokenizer()
    endless.eos_token = None
    with pytest.raises(UserError, match="no eos_token"):
        Encoder(endless)
    with pytest.raises(UserError, match="knows the roles system, user, assistant; found tool"):
        Encoder(TOKENIZER)(Record("x", (Message("tool", "t"), Message("assistant", "a"))))


def test_padding_is_by_length_so_a_real_end_token_keeps_attention_and_loss():
    short, long = question_answer("Q?", "A", id="s"), question_answer("Q?", "A much longer answer", id="l")
    samples = TextSamples([short, long], Encoder(TOKENIZER))
    batch = samples.batch([1, 0])
    assert samples.ids == ["s", "l"]
    assert batch.rows.tolist() == [1, 0]
    ids, mask, labels = batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.labels
    n = len(Encoder(TOKENIZER)(short)[0])
    end = TOKENIZER.eos_token_id
    assert TOKENIZER.pad_token_id == end
    assert mask.tolist() == [[1] * ids.shape[1], [1] * n + [0] * (ids.shape[1] - n)]
    assert ids[1, n - 1] == labels[1, n - 1] == end
    assert (ids[1, n:] == end).all()
    assert (labels[1, n:] == IGNORE).all()
    assert ids.dtype == mask.dtype == labels.dtype == torch.int64


def test_samples_encode_on_demand_with_bounded_memory(monkeypatch):
    monkeypatch.setattr(TextSamples, "CACHE", 4)
    records = [question_answer(f"Q{i}?", "A" * (i + 1), id=str(i)) for i in range(10)]
    samples = TextSamples(records, Encoder(TOKENIZER))
    assert samples.encoded.cache_info().currsize == 0
    assert [samples.length(row) for row in (0, 9, 9)] == [4, 13, 13]
    assert samples.encoded.cache_info().currsize == 0
    stream = Stream(samples, seed=0)
    seen = [row for _ in range(5) for row in stream.next(2).rows.tolist()]
    assert sorted(seen) == list(range(10))
    assert samples.encoded.cache_info().currsize == 4
