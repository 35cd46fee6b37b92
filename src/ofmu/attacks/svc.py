"""The membership attack of the SalUn protocol: a support vector machine on the confidence in the true label."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from sklearn.svm import SVC

from ofmu.attacks._checks import Floats, not_constant
from ofmu.attacks.confidence import ConfidenceAttack, confidence_vector


def svc_attack(
    retain: ArrayLike, test: ArrayLike, forget: ArrayLike, *, most: int | None = None
) -> ConfidenceAttack:
    """Fit "member or not" on the confidences of D_r against the test set, then ask about D_f: MIA of the protocol.

    A support vector machine with Gaussian kernel exp(−‖x − x′‖²) (scikit-learn's SVC, C = 3, gamma "auto") on the
    true-label confidence as it is; members: as many retain samples as there are test samples, evenly spread over
    the array; non-members: test. MIA = 100 × share of forget called non-member (TN/|D_f|), in points; nearest to
    Retrain's is best. Jia et al. 2023, arXiv 2304.04934, appendix C.3; Fan et al. 2024 (SalUn), whose code this
    equals on sets of one size (it takes the *first* |test| retain samples). most: members, and non-members, at
    most (the fit takes time quadratic in them).

    The same code has an attack "m_entropy" that is not the modified entropy of Song & Mittal (2021): it takes
    log p where the definition has log(1 − p). It is left out here, as are the others that the tables do not use.
    The attack sees one threshold or two on the confidence; where Original and Retrain barely differ (random
    forgetting) read W1 and PS beside it. Raises ValueError as `confidence_attack` does.
    """
    members, others, asked = (
        confidence_vector(name, values)
        for name, values in (("retain", retain), ("test", test), ("forget", forget))
    )
    if most is not None and most < 1:
        raise ValueError(f"most: found {most}, expected at least 1 sample, or None for all")
    others = _spread(others, most or len(others))
    members = _spread(members, len(others))
    not_constant("retain and test", np.concatenate([members, others]))
    is_member = np.r_[np.ones(len(members), dtype=int), np.zeros(len(others), dtype=int)]
    machine = _machine()
    machine.fit(np.concatenate([members, others])[:, None], is_member)

    def called_member(values: Floats) -> float:
        return float(machine.predict(values[:, None]).mean())

    share, n = 1 - called_member(asked), len(asked)
    spread = 100 * math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
    return ConfidenceAttack(100 * share, n, spread, called_member(members), 1 - called_member(others))


def svc_scores(
    retain: ArrayLike, heldout: ArrayLike, forget: ArrayLike, seed: int = 0, most: int = 1000
) -> tuple[Floats, Floats]:
    """(scores of D_f [n], of held-out samples [m]), high for members: the same machine, for `two_sided`.

    The machine of `svc_attack` learns D_r's confidences against one half of the held-out ones (members evenly
    spread and as many as non-members; `most` of each) and its decision function scores the other half and one half
    of D_f; then the halves change places. So held-out samples are scored by a machine that never saw them, which
    the protocol's own number, a share of D_f, is not compared with. Raises ValueError as `svc_attack`, and for
    fewer than 4 held-out or 2 forget samples.
    """
    members, others, asked = (
        confidence_vector(name, values)
        for name, values in (("retain", retain), ("heldout", heldout), ("forget", forget))
    )
    if len(others) < 4 or len(asked) < 2:
        raise ValueError(
            f"heldout, forget: found {len(others)} and {len(asked)} confidences, expected at least 4 and 2"
        )
    not_constant("retain and heldout", np.concatenate([members, others]))
    rng, found = np.random.default_rng(seed), (np.empty(len(asked)), np.empty(len(others)))
    halves = [rng.permutation(len(values)) for values in found]
    for half in (0, 1):
        mine, theirs = (np.array_split(order, 2)[half] for order in halves)
        outside = _spread(others[np.sort(np.array_split(halves[1], 2)[1 - half])], most)
        inside = _spread(members, len(outside))
        truth = np.r_[np.ones(len(inside), dtype=int), np.zeros(len(outside), dtype=int)]
        machine = _machine().fit(np.concatenate([inside, outside])[:, None], truth)
        found[0][mine] = machine.decision_function(asked[mine][:, None])
        found[1][theirs] = machine.decision_function(others[theirs][:, None])
    return found


def _machine() -> SVC:
    return SVC(C=3.0, kernel="rbf", gamma="auto")


def _spread(values: Floats, most: int) -> Floats:
    n = len(values)
    return values if n <= most else values[np.arange(most) * n // most]
