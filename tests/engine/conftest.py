"""rho at its full size from the first step, as the loops and the numbers by hand have it."""

import pytest

from hf_vasso.engine import rho


@pytest.fixture(autouse=True)
def no_warm_up_of_rho_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rho, "WARMUP_SHARE", 0.0)
