"""What tests share: one thread where runs are compared bit for bit, and a store of their own."""

import pytest
import torch
from hypothesis import HealthCheck, settings

# time says nothing on a shared machine; the same examples every time, so that a change is what a failure is due to
settings.register_profile("shared", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order: for `pytestmark = pytest.mark.usefixtures("one_thread")`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _own_store(tmp_path_factory):
    """Nothing is read from the store of whoever runs the tests, and nothing left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OFMU_STORE", str(tmp_path_factory.mktemp("store")))
        yield
