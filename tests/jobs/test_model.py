"""What the ledger takes and hands out."""

from typing import Any

import pytest
from pydantic import ValidationError

from jobs.model import NewJob
from tests.jobs.samples import RESULT, order, progress, recipe


def test_losses_that_are_no_numbers_are_left_out() -> None:
    assert progress(losses={"rate": float("nan"), "loss": 1.0, "kl": float("inf")}).losses == {"loss": 1.0}


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    assert type(RESULT).model_validate(RESULT.model_dump() | {"metrics": {"fid": float("nan")}}).metrics == {}


def test_name_and_family_of_an_order_are_those_of_its_recipe() -> None:
    assert (order().name, order().family) == ("tiny", "vae")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "No Name"}, "the recipe's name is 'No Name'"),
        ({"family": None}, "the recipe's family is None"),
        ({"licence": "a\x00b"}, "NUL"),
        ({"licence": "\ud800"}, "cannot be stored as JSON"),
        ({"beta": float("nan")}, "cannot be stored as JSON"),
        ({"beta": object()}, "cannot be stored as JSON"),
    ],
)
def test_a_recipe_that_no_database_could_hold_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NewJob(recipe=recipe(**wrong))


@pytest.mark.parametrize(
    "wrong", [{"priority": 101}, {"priority": -101}, {"promotion": "never"}, {"idempotency_key": ""}, {"other": 1}]
)
def test_an_order_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewJob.model_validate({"recipe": recipe()} | wrong)
