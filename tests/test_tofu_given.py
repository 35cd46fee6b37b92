"""References that were trained elsewhere: loaded as if trained here, refused where they do not fit."""

from dataclasses import replace

import pytest
import torch

from ofmu.benchmarks.tofu import carry_out
from ofmu.benchmarks.tofu_choice import Plan, one_minute
from ofmu.benchmarks.tofu_references import reference
from ofmu.engine.models import save_model
from ofmu.engine.store import Store
from ofmu.errors import UserError
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN
from tofu_world import SMALL, base, bench, setting

pytest.importorskip("transformers")
pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the store that they were trained in, name -> the directory of the whole model)."""
    folder, places = tmp_path_factory.mktemp("given"), {}
    store = Store(folder / "store")
    for name in (ORIGINAL, RETRAIN):
        made = reference(setting(), name, 0, store)
        places[name] = str(folder / name)
        (folder / name).mkdir()
        save_model(replace(base(), module=setting().halves.whole(made.top(setting()))), folder / name)
    return store, places


def test_a_given_reference_is_the_one_that_was_trained(trained, tmp_path):
    store, places = trained
    given = replace(setting(), given=places)
    for name in (ORIGINAL, RETRAIN):
        ours, theirs = reference(setting(), name, 0, store), reference(given, name, 0, Store(tmp_path))
        for a, b in zip(ours.top(given).parameters(), theirs.top(given).parameters(), strict=True):
            assert torch.equal(a, b)
        assert theirs.spent.samples == ours.spent.samples  # by the recipe: what it took is not known
        assert theirs.spent.ended == f"given: {places[name]}"


def test_the_table_says_what_was_given_and_has_no_floor_of_a_model_with_itself(trained, tmp_path):
    _, places = trained
    plan = Plan(("graddiff",), 2, 0, "x")
    page = carry_out(bench(tmp_path, replace(setting(), given=places), plan, []))
    assert {row.method for row in page.rows} == {ORIGINAL, RETRAIN, "GradDiff"}
    assert FLOOR not in {row.method for row in page.rows}
    assert f"Original, seed 0: given: {places[ORIGINAL]}." in (tmp_path / "tofu.md").read_text(encoding="utf-8")


def test_tuning_takes_a_given_original_only_for_the_people_it_was_trained_on(trained):
    _, places = trained
    given = replace(setting(), given=places)
    assert given.on(given.groups).given == {ORIGINAL: places[ORIGINAL]}
    others = replace(given.groups, forget=given.groups.unseen)
    assert given.on(others).given == {}


def test_models_that_do_not_fit_are_refused(tmp_path):
    other = setting().halves.whole(setting().halves.top())
    with torch.no_grad():
        other.get_input_embeddings().weight.add_(1.0)
    (tmp_path / "lower").mkdir()
    save_model(replace(base(), module=other), tmp_path / "lower")
    given = replace(setting(), given={ORIGINAL: str(tmp_path / "lower")})
    with pytest.raises(UserError, match="other weights below the part that references train"):
        reference(given, ORIGINAL, 0, Store(tmp_path / "s"))

    (tmp_path / "wide").mkdir()
    save_model(one_minute({**SMALL, "intermediate_size": 96}), tmp_path / "wide")
    given = replace(setting(), given={RETRAIN: str(tmp_path / "wide")})
    with pytest.raises(UserError, match="as in the pretrained model"):
        reference(given, RETRAIN, 0, Store(tmp_path / "s"))
