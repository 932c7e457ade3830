"""Requests made up from the API's own description: each is answered as the description says, none brings it down.

`L4F_SCHEMATHESIS_EXAMPLES=500 python -m pytest tests/test_api_description.py` is the long form: so many requests that
keep to the description, and so many that do not, for each address.
"""

import os

import pytest
from api_server import V1, client, service
from hypothesis import HealthCheck, given, seed, settings

schemathesis = pytest.importorskip("schemathesis", reason='comes with the extra "test"')

import jsonschema_rs  # noqa: E402  (comes with schemathesis)
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance  # noqa: E402

EXAMPLES = int(os.environ.get("L4F_SCHEMATHESIS_EXAMPLES", "6"))


def plain(schema):
    """The JSON schema of OpenAPI 3.0's: there, under pydantic 1, null is allowed by the word nullable."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: plain(part) for name, part in schema.items()}
    return {"anyOf": [parts, {"type": "null"}]} if schema.get("nullable") is True else parts


@pytest.fixture(scope="module")
def described(tiny_models, tmp_path_factory):
    made = service(tmp_path_factory.mktemp("out"))
    yield schemathesis.openapi.from_asgi(V1 + "openapi.json", client(made).app)
    assert not made.is_busy() and not list(made.outputs.folder.iterdir())


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    ("path", "method"), [("/classes", "GET"), ("/generate", "POST"), ("/swap", "POST"), ("/segment", "POST")]
)
def test_answers_keep_to_the_description(described, path, method, mode):
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        pytest.skip("nothing can be sent there that the description forbids")
    statuses = []
    body = described.raw_schema["paths"][path][method.lower()].get("requestBody")
    schema = body["content"]["application/json"]["schema"] if body else {}
    allowed = jsonschema_rs.validator_for(plain({**schema, "components": described.raw_schema["components"]}))

    @seed(0)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(described[path][method].as_strategy(generation_mode=mode))
    def requests(case) -> None:
        # What the description cannot say, such as which classes there are, may be refused all the same. What it
        # forbids is looked at below, as schemathesis takes 0.0 for no integer and the texts of a form for numbers.
        answer = case.call_and_validate(excluded_checks=[positive_data_acceptance, negative_data_rejection])
        statuses.append(answer.status_code)
        assert answer.status_code != 200 or case.media_type != "application/json" or allowed.is_valid(case.body)

    requests()
    assert statuses and set(statuses) <= {200, 400, 406, 415, 422}
