"""The loop: what it reports, when it ends, and that a resumed run is the same run bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from ofmu.core.oracle import TorchOracle
from ofmu.core.schedule import Lagrangian, Priority
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.loop import Diverged, unlearn
from ofmu.methods import OFMU, build_method
from ofmu.tasks import Log, Stream
from small import flat, images, llama, net, task, texts


@dataclass
class Count:
    n: int = 0


@dataclass(frozen=True)
class Scripted:
    """Each step adds 1 to every parameter, costs 10, and reports what the script says."""

    script: tuple[Log, ...]
    poison: int | None = None  # the step that makes a parameter infinite

    def init(self, task, oracle):
        return Count()

    def step(self, task, oracle, state):
        oracle.move(1.0, [torch.ones_like(p) for p in oracle.params])
        oracle.cost += 10
        if state.n + 1 == self.poison:
            oracle.move(1.0, [torch.full_like(p, float("inf")) for p in oracle.params])
        return Count(state.n + 1), self.script[state.n]


def scripted(*logs, poison=None):
    oracle = TorchOracle(net())
    return task(images(4, 1), images(4, 2)), Scripted(logs, poison), oracle


FINE = Log({"retain_objective": 0.5})


def test_events_number_the_steps_and_say_why_the_run_ended():
    given, method, oracle = scripted(FINE, FINE, FINE)
    events = list(unlearn(given, method, oracle, 3))
    assert [(e.step, e.cost, e.last) for e in events] == [
        (1, 10, None),
        (2, 20, None),
        (3, 30, "all steps are done"),
    ]
    assert events[0].log is FINE
    assert list(unlearn(given, method, oracle, 0)) == []


def test_a_method_that_is_done_ends_the_run():
    given, method, oracle = scripted(FINE, Log({}, done=True), FINE)
    assert [e.last for e in unlearn(given, method, oracle, 3)] == [None, "the target holds"]


@pytest.mark.parametrize(("budget", "steps"), [(1, 1), (20, 2), (20.1, 3)])
def test_a_budget_lets_the_step_that_exceeds_it_finish(budget, steps):
    events = list(unlearn(*scripted(*[FINE] * 9), 9, budget=budget))
    assert len(events) == steps
    assert events[-1].last == "the budget is spent"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_quantity_that_is_not_finite_is_named_and_the_parameters_go_back(bad):
    given, method, oracle = scripted(FINE, FINE, Log({"retain_objective": 0.1, "forget_objective": bad}))
    start = flat(oracle.params)
    with pytest.raises(Diverged, match="step 3: forget objective is not a finite number") as caught:
        list(unlearn(given, method, oracle, 9))
    assert (caught.value.step, caught.value.what) == (3, "forget objective")
    assert torch.equal(flat(oracle.params), start + 1 + 1)


def test_a_parameter_that_is_not_finite_is_found():
    given, method, oracle = scripted(FINE, FINE, poison=2)
    start = flat(oracle.params)
    with pytest.raises(Diverged, match="step 2: a parameter is not a finite number"):
        list(unlearn(given, method, oracle, 9))
    assert torch.equal(flat(oracle.params), start + 1)


def test_ascent_on_unbounded_loss_diverges_with_finite_parameters():
    given = task(images(8, 1), images(8, 2))
    oracle = TorchOracle(net().float())
    given.forget.samples.pixels, given.retain.samples.pixels = (
        s.samples.pixels.float() for s in (given.forget, given.retain)
    )
    with pytest.raises(Diverged):
        list(unlearn(given, build_method("gradascent", "image", lr=1e37), oracle, 50))
    assert bool(torch.isfinite(flat(oracle.params)).all())


def image_problem():
    tau = [0.8 + 0.1 * i for i in range(12)]
    given = task(images(12, 1), images(45, 2), tau, forget_nll=torch.full((12,), 0.7), retain_level=1.0)
    given.retain_batch = 40  # more than a curvature batch: the retain stream gives batches of two sizes
    return given, TorchOracle(net())


def text_problem():
    forget, retain = texts(9, 1), texts(14, 2)
    tau = [torch.full((len(answer),), 9.0) for _, answer in forget.pairs]  # out of reach in five steps
    given = task(forget, retain, tau, forget_nll=torch.full((9,), 3.0), retain_level=3.3)
    given.forget_batch = given.retain_batch = 4
    return given, TorchOracle(llama())


def neutral_problem():
    given, oracle = text_problem()
    more = {"reference": llama(), "unseen": llama(1), "confidence": 1.5, "neutral": Stream(texts(7, 3), 4)}
    return replace(given, **more), oracle


def differenced_problem():
    given, oracle = image_problem()
    return given, TorchOracle(oracle.model, products="differences", outer="differences")


def tried_problem():
    """In float32 "auto" tries forward differences, and remembers what it saw."""
    given, _ = image_problem()
    for stream in (given.forget, given.retain):
        stream.samples.pixels = stream.samples.pixels.float()
    return given, TorchOracle(net().float(), products="differences", outer="differences", scheme="auto")


RUNS = {
    "ofmu, images": (image_problem, OFMU()),
    "ofmu, images, preset": (image_problem, OFMU.image(1e-2)),
    "ofmu, images, differences": (differenced_problem, OFMU(beta=0.3)),
    "ofmu, images, differences, auto": (tried_problem, OFMU(beta=0.3)),
    "ofmu, images, multipliers, lazy": (
        differenced_problem,
        OFMU(beta=0.3, penalty=Lagrangian(), refresh=3, priority=Priority(0.3, 0.7)),
    ),
    "ofmu, images, adam": (image_problem, replace(OFMU.text(1e-2), forget=OFMU().forget)),
    "ofmu, text": (text_problem, OFMU.text(1e-3)),
    "ofmu, text, matched": (neutral_problem, replace(OFMU.matched(1e-3), project=True)),
    "npo, images": (image_problem, build_method("npo", "image")),
    "npo, text": (text_problem, build_method("npo", "text", width=16)),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(name, tmp_path):
    make, method = RUNS[name]
    given, oracle = make()
    start = flat(oracle.params)
    whole = []
    for event in unlearn(given, method, oracle, 5):
        whole.append((event.step, event.log, event.cost, event.last))
        if event.step == 2:
            save_state(tmp_path / "run", event.snapshot())
    expected = flat(oracle.params)
    assert len(whole) == 5
    assert not torch.equal(start, expected)
    fresh_task, fresh = make()
    with torch.no_grad():
        for p in fresh.params:
            p.normal_()  # whatever the new process starts from
    resumed = unlearn(fresh_task, method, fresh, 5, resume=load_state(tmp_path / "run"))
    assert [(e.step, e.log, e.cost, e.last) for e in resumed] == whole[2:]
    assert torch.equal(flat(fresh.params), expected)


def test_a_snapshot_does_not_change_as_the_run_goes_on():
    given, oracle = image_problem()
    events = unlearn(given, build_method("npo", "image"), oracle, 3)
    snapshot = next(events).snapshot()
    parameters = flat(snapshot["parameters"])
    moment = snapshot["method"]["optimizer"]["state"][0]["exp_avg"].clone()
    list(events)
    assert torch.equal(flat(snapshot["parameters"]), parameters)
    assert torch.equal(snapshot["method"]["optimizer"]["state"][0]["exp_avg"], moment)
    assert not torch.equal(flat(oracle.params), parameters)
