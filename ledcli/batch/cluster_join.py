"""Join a Ray cluster, or start one on this machine; Ray's own output is silenced."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

from ledcli.errors import UsageError, first_line

LOCAL, AUTO = "local", "auto"
"""Addresses: a cluster of this machine alone, started for the run; the one that runs here."""
CONNECT_S = 10.0
"""Seconds for an address to answer."""
_OBJECT_BYTES = 100 << 20
"""Of the object store of a local cluster; answers are small."""


def join(address: str, stack: contextlib.ExitStack) -> Any:  # noqa: ANN401
    """Return the module `ray`, in a cluster that the stack leaves; nothing of its own is printed.

    Raises UsageError if Ray is not installed or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning about it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
        from ray._private import worker
    except ImportError:
        raise UsageError("Ray is not installed: pip install 'ledcli[ray]'") from None
    if ray.is_initialized():  # by the program that calls led's functions
        return ray
    options: dict[str, Any] = {"address": address}
    if not os.environ.get("LED_DEBUG"):
        options |= {"logging_level": logging.CRITICAL, "log_to_driver": False}
        # Without this it still prints to standard output when a node dies.
        stack.callback(setattr, worker, "_worker_logs_enabled", True)
        worker._worker_logs_enabled = False
    if address == LOCAL:
        # Other programs that look for a cluster on this machine do not find it.
        folder = tempfile.TemporaryDirectory(prefix="led-", ignore_cleanup_errors=True)
        options |= {"_temp_dir": stack.enter_context(folder), "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_BYTES}
    else:
        if address != AUTO:
            _check_answers(address)
        # Ray waits minutes for an address without a cluster.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    stack.callback(ray.shutdown)
    try:
        with _quietly():
            ray.init(**options)
    except Exception as error:  # of many kinds
        if address == AUTO and isinstance(error, ConnectionError):
            raise UsageError(
                f"--ray {address}: no Ray cluster runs on this machine: start one with 'ray start "
                f"--head', or use --ray {LOCAL}"
            ) from None
        raise UsageError(
            f"--ray {address}: the cluster cannot be joined: {first_line(error)}. One with a token "
            "needs RAY_AUTH_MODE=token and that token here too."
        ) from error
    return ray


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep Ray's native code from printing, and Ray from handling SIGTERM."""
    handler = signal.getsignal(signal.SIGTERM)
    before = os.dup(2)
    try:
        if not os.environ.get("LED_DEBUG"):
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, handler)


def check_address(address: str) -> None:
    """Raise UsageError for an invalid address; opens no connection."""
    host, _, port = address.rpartition(":")
    is_host = host and "/" not in host and port.isascii() and port.isdigit()
    if address not in (LOCAL, AUTO) and not is_host:
        raise UsageError(f"--ray {address}: must be {LOCAL}, {AUTO} or HOST:PORT")


def _check_answers(address: str) -> None:
    """Raise UsageError if an address is none, or nothing answers there."""
    check_address(address)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--ray {address}: no Ray cluster answers there ({error}): start one with 'ray start "
            f"--head', or use --ray {LOCAL}"
        ) from None
