"""The service against its own OpenAPI document: requests that schemathesis makes up."""

import collections

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.server.app import create_app
from deepgaze_jax.server.config import ServeConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def operations():
    config = ServeConfig(max_upload_bytes=100_000, max_pixels=100_000)
    app = create_app([load_pretrained("icf")], config)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_those_of_the_document(operations, mode):
    statuses = collections.Counter()
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and operation.method == "get":
            continue  # There is nothing that could be wrong with it.

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=200,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        def check(case):
            # No schema says which pictures and scales are too large to be computed.
            response = case.call_and_validate(
                excluded_checks=[positive_data_acceptance]
            )
            statuses[response.status_code] += 1

        check()
    assert sum(statuses.values()) > 100 and not any(code >= 500 for code in statuses)
    assert (statuses[200] > 50) == (mode is GenerationMode.POSITIVE), statuses
