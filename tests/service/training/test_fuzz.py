"""Whatever is ordered or asked for, the answer is no 500."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.support import Client
from tests.service.training.support import JOBS, SMALL

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TABLES = ["data", "model", "train", "evaluate", "export"]
KEYS = [*SMALL, *TABLES, "upload", "path", "size", "hidden", "network", "epochs", "rounds", "parent", "conditional"]
WORDS = ["mnist", "npz", "folder", "upload", "vae", "gan", "inference", "mlp", "conv", "fashion-vae", "0" * 64, "/", ""]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | st.text(max_size=6) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), values, max_size=4)
recipes = values | tables.map(lambda changes: SMALL | changes) | st.sampled_from(["fashion-vae", "inference"])
dotted = st.lists(st.sampled_from(KEYS) | st.text(max_size=3), max_size=3).map(".".join)
orders = st.fixed_dictionaries(
    {"recipe": recipes},
    optional={
        "overrides": values | st.dictionaries(dotted, values, max_size=3),
        "data": values | tables,
        "name": values,
        "priority": scalars,
        "device": values,
        "unknown": values,
    },
)


@FUZZ
@given(order=orders)
def test_any_order_is_taken_or_refused_for_a_field(client: Client, order: dict[str, Any]) -> None:
    answer = client.post(JOBS, order)
    assert answer.status_code in {202, 422, 400}, answer.text
    if answer.json().get("errors"):
        assert all(error["message"] for error in answer.json()["errors"])


@FUZZ
@given(
    path=st.sampled_from(["", "/x", "/x/events", "/x/pictures/1"]),
    query=st.dictionaries(
        st.sampled_from(["state", "limit", "before", "name", "after", "pictures"]), st.text(max_size=5), max_size=3
    ),
)
def test_any_query_is_answered_or_refused(client: Client, path: str, query: dict[str, str]) -> None:
    assert client.get(f"{JOBS}{path}", params=query).status_code in {200, 404, 422}
