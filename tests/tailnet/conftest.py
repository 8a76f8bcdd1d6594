"""Shared fixtures. One tailnet and one tsidecar serve the whole run; a test that changes either puts it back."""

import os

import pytest

from daemon import Tsidecar
from lab import base_serve, environment_lab


@pytest.fixture(scope="session")
def lab():
    if "TSIDECAR_TAILNET_DIR" not in os.environ:
        pytest.exit("start these tests with tests/tailnet/run: it brings the tailnet up first")
    return environment_lab()


@pytest.fixture(scope="session")
def tsidecar(lab):
    daemon = Tsidecar(lab, os.environ["TSIDECAR_BINARY"], "main")
    try:
        daemon.start(ready=False)
        lab.set_serve(base_serve(daemon.serve_sock, daemon.service_sock))
        daemon.wait_ready()
        yield daemon
        daemon.stop()
    finally:
        daemon.remove()


@pytest.fixture(autouse=True)
def nothing_left_changed(request):
    """After each test the base plan stands and the daemon is ready, so that a failure stays with the test that made it."""
    yield
    if "tsidecar" in request.fixturenames:
        request.getfixturevalue("tsidecar").wait_ready()


@pytest.fixture
def app(tsidecar):
    """The confidential relying party."""
    return tsidecar.app


@pytest.fixture
def cli(tsidecar):
    """The public relying party."""
    return tsidecar.cli


@pytest.fixture(scope="session")
def alice(lab):
    return lab.peer("alice")


@pytest.fixture(scope="session")
def bob(lab):
    return lab.peer("bob")


@pytest.fixture(scope="session")
def ci(lab):
    return lab.peer("ci")


@pytest.fixture(scope="session")
def carol(lab):
    return lab.peer("carol")


def pytest_configure(config):
    config.addinivalue_line("markers", "kernel: only with --tun; in userspace mode nothing listens on the tailnet address")


def pytest_collection_modifyitems(config, items):
    """Leaves out what the mode does not have: the other mode runs it."""
    kernel = "TSIDECAR_TAILNET_DIR" in os.environ and environment_lab().kernel
    out = [item for item in items if item.get_closest_marker("kernel") and not kernel]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
