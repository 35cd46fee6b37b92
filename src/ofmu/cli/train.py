"""`ofmu train`: ordinary training, recorded so that references can be trained alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from ofmu.cli.checkpoints import check_same, room
from ofmu.cli.interrupts import Pending, patient_signals
from ofmu.cli.loading import check_length
from ofmu.cli.say import bar, note, print_json
from ofmu.cli.train_options import TrainOptions
from ofmu.core import vectors
from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.images import check_labels, read_images
from ofmu.data.read import open_records
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.hashing import ids_fingerprint, model_fingerprint
from ofmu.engine.language import SMALLEST, TINY_LLAMA, from_scratch, train_tokenizer
from ofmu.engine.loop import Diverged
from ofmu.engine.models import LoadedModel, load_model, save_model
from ofmu.engine.networks import NETWORKS, build
from ofmu.engine.output import Output
from ofmu.engine.provenance import SCRATCH, Provenance, classes_of, fresh_like, write_provenance
from ofmu.engine.requests import encoder_of, image_reader
from ofmu.engine.trainable import apply_trainable, merge_adapter
from ofmu.engine.training import Progress, Recipe, training
from ofmu.engine.upper import cut_below
from ofmu.errors import UserError
from ofmu.losses import BASE_LOSSES
from ofmu.tasks import Kind, Samples

TINY = "tiny-llama"
RECIPES: dict[str, Recipe] = {
    "image": Recipe(),
    "tiny": Recipe(epochs=18, batch=8, lr=2.5e-3, rule="adamw", decay=0.01, schedule="linear", clip=1.0),
    "text": Recipe(epochs=10, batch=8, lr=3e-4, rule="adamw", decay=0.01, schedule="linear", clip=1.0),
}


@dataclass(frozen=True)
class Start:
    """A model before training, its rows, and what a fresh one is made from."""

    loaded: LoadedModel
    samples: Samples
    init: str


def _check_numbers(options: TrainOptions) -> None:
    """UserError for numbers that cannot be, before anything is loaded."""
    for name, value in (("--epochs", options.epochs), ("--lr", options.lr)):
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name}: found {value:g}, expected a number above 0")
    for name, count in (("--batch", options.batch), ("--checkpoint-every", options.checkpoint_every)):
        if count is not None and count < 1:
            raise UserError(f"{name}: found {count}, expected at least 1")
    if options.seed < 0:
        raise UserError(f"--seed: found {options.seed}, expected 0 or more")
    if options.vocabulary < SMALLEST:
        raise UserError(f"--vocabulary: found {options.vocabulary}, expected at least {SMALLEST}")
    check_length(options.max_length)


def train(options: TrainOptions) -> int:
    """Train and save; see `TrainOptions`."""
    _check_numbers(options)
    with (
        patient_signals() as pending,
        Output(Path(options.out), overwrite=options.overwrite, resume=options.resume) as out,
    ):
        start = _start(options)
        recipe = _recipe(options, start)
        identity = _identity(options, start, recipe)
        loaded = apply_trainable(start.loaded, options.trainable, options.seed)
        for text in loaded.notes:
            note(text)
        out.require(room(loaded.module))
        last = _trained(replace(start, loaded=loaded), recipe, identity, options.checkpoint_every, out, pending)
        save_model(replace(merge_adapter(loaded), settings=start.loaded.settings), out.folder)
        ids = start.samples.ids
        provenance = Provenance(recipe, start.init, ids_fingerprint(ids), len(ids), options.trainable)
        write_provenance(out.folder, provenance)
    if options.json:
        print_json(
            {"out": str(options.out), "rows": len(ids), "steps": last.step, "loss": last.loss, "cost": last.cost}
        )
    else:
        print(f"{options.out}: trained on {len(ids)} rows, {last.step} steps, last loss {last.loss:.3g}")
    return 0


def _identity(options: TrainOptions, start: Start, recipe: Recipe) -> dict[str, str]:
    """All that decides the result, in words: a resumed run must have the same."""
    return {
        "--model": options.model,
        "the model": model_fingerprint(start.loaded.module),
        "--data": ids_fingerprint(start.samples.ids),
        "--trainable": options.trainable,
        "the recipe": str(recipe),
    }


def _trained(
    start: Start, recipe: Recipe, identity: dict[str, str], every: int, out: Output, pending: Pending
) -> Progress:
    loaded, module, samples = start.loaded, start.loaded.module, start.samples
    cut = cut_below(module, [samples]) if loaded.kind == "text" else None
    if cut is not None:
        module, samples = cut.upper(module) or module, cut.samples(samples)
    last, resume = Progress(0, 0, 0.0, 0.0), None
    if out.resuming:
        saved = load_state(out.checkpoint)
        check_same(saved["identity"], identity)
        resume, last = saved["training"], Progress(**saved["last"])
    pending.patient = True
    try:
        with bar("train") as shown:
            for last in training(module, samples, BASE_LOSSES[loaded.kind], recipe, resume=resume):
                shown.show(last.step, last.total, {"loss": last.loss})
                if pending.asked or last.step % every == 0:
                    _save(out, identity, last)
                if pending.asked:
                    raise KeyboardInterrupt
        if float(vectors.bad(list(module.parameters()))) > 0:  # the last step is followed by no loss
            raise Diverged(last.step, "a parameter")
    except Diverged as error:
        out.checkpoint.unlink(missing_ok=True)  # it would diverge again
        error.add_note(f"Give a lower --lr than {recipe.lr:g}.")
        raise
    finally:
        pending.patient = False
    return last


def _save(out: Output, identity: dict[str, str], last: Progress) -> None:
    plain = {"step": last.step, "total": last.total, "loss": last.loss, "cost": last.cost}
    save_state(out.checkpoint, {"identity": identity, "last": plain, "training": last.snapshot()})


def _start(options: TrainOptions) -> Start:
    if options.model == TINY:
        return _tiny(options)
    if options.model in NETWORKS:
        return _network(options)
    loaded = _loaded(options.model)
    for text in loaded.notes:
        note(text)
    if loaded.kind == "text":
        encoder = encoder_of(loaded, options.max_length)
        loaded = replace(loaded, settings=encoder.settings())
        samples: Samples = TextSamples(open_records(options.data), encoder)
    else:
        read = image_reader(loaded)
        images = read(options.data)
        check_labels(images.samples, classes_of(loaded))
        samples = images.samples
        if not loaded.settings:
            shape = {"size": images.samples.pixels.shape[-1], "classes": list(images.classes)}
            loaded = replace(
                loaded, settings={"image_mean": list(images.mean), "image_std": list(images.std), **shape}
            )
    if options.from_scratch:
        return Start(replace(loaded, module=fresh_like(loaded.module, options.seed)), samples, SCRATCH)
    return Start(loaded, samples, options.model)


def _loaded(model: str) -> LoadedModel:
    try:
        return load_model(model)
    except UserError as error:
        raise UserError(f"{error}; from scratch there are {', '.join((*NETWORKS, TINY))}") from error


def _tiny(options: TrainOptions) -> Start:
    records = open_records(options.data)
    texts = [record.text or "\n".join(turn.content for turn in record.messages) for record in records]
    tokenizer = train_tokenizer(texts, options.vocabulary)
    encoder = Encoder.of(tokenizer, options.max_length or 256)
    # the head is as large as the tokenizer turned out, which may be smaller than what was asked for
    length = max(256, encoder.max_length)
    config = {**TINY_LLAMA, "vocab_size": len(tokenizer), "max_position_embeddings": length}
    module = from_scratch(config, options.seed, attention="sdpa")
    loaded = LoadedModel(module, "text", tokenizer, encoder.settings(), TINY)
    return Start(loaded, TextSamples(records, encoder), SCRATCH)


def _network(options: TrainOptions) -> Start:
    path = Path(options.data).expanduser()
    if not path.exists():
        raise UserError(f"no file {path}: expected a parquet file or a directory with one folder a class")
    images = read_images(path)
    _, channels, height, width = images.samples.pixels.shape
    if height != width:
        raise UserError(f"--data: images are {width}×{height}, expected squares for {options.model}")
    shape = {"classes": len(images.classes), "channels": channels, "size": height}
    check_labels(images.samples, len(images.classes))
    module = build(options.model, shape, options.seed)
    settings = {
        "image_mean": list(images.mean),
        "image_std": list(images.std),
        "size": height,
        "classes": list(images.classes),
    }
    return Start(LoadedModel(module, "image", settings=settings, source=options.model), images.samples, SCRATCH)


def _recipe(options: TrainOptions, start: Start) -> Recipe:
    kind: Kind = start.loaded.kind
    preset = RECIPES["tiny" if kind == "text" and start.init == SCRATCH else kind]
    return replace(
        preset,
        epochs=preset.epochs if options.epochs is None else options.epochs,
        batch=preset.batch if options.batch is None else options.batch,
        lr=preset.lr if options.lr is None else options.lr,
        seed=options.seed,
        autocast=options.autocast,
    )
