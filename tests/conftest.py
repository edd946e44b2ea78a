"""What holds for every test: few threads, fixed seeds, no clock, no model but the bundled ones."""

import os
import random
import signal

# Before torch and NumPy come in, which read it once. More threads than cores make the small
# networks of the tests slower, not faster. Under pytest-xdist each worker has a core of its own,
# whatever it inherits from the process that started it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
else:
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# What a shell starts in the background has Ctrl-C ignored, and would hand that on to the commands
# that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# The same examples everywhere, and no failure for a slow machine.
allowed = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("led", deadline=None, derandomize=True, suppress_health_check=allowed)
settings.load_profile("led")


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def led_home(tmp_path_factory, monkeypatch):
    """No installed models: what is on the machine must not change a test."""
    home = tmp_path_factory.mktemp("led-home")
    monkeypatch.setenv("LED_HOME", str(home))
    monkeypatch.delenv("LED_DEBUG", raising=False)
    return home
