"""A model file that the tests of a module share."""

import pytest

from tests.inference.models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
