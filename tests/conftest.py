"""What every test runs under: no network, as many threads as there are cores to share, reproducible random search."""

import os

# Before any test module imports numpy, numba or torch. Two pytest-xdist workers on two cores get one thread each: a
# pool per worker as wide as the machine slows every test down by more than it gains.
_threads = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, _threads)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

from hypothesis import settings  # noqa: E402

settings.register_profile("plena", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("plena")
