"""Recipes are checked on arrival, without torch; what is wrong is said key by key, with what is allowed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, create_model

from bundle.errors import BundleError
from bundle.recipes import (
    DataRecipe,
    KnownData,
    Problem,
    Recipe,
    RecipeError,
    check_recipe,
    check_table,
    headline,
    named,
    read_named,
    recipe_schema,
    resolved,
)
from bundle.recipes.allowed import allowed, find

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
UPLOAD = "0123456789abcdef" * 4
MANIFESTS = sorted((ROOT / "models").glob("*/*/manifest.json"))
COMPLETION: dict[str, dict[str, Any]] = {  # what the user must add to a recipe that ships
    "folder-vae": {"data": {"name": "upload", "upload": UPLOAD}},
    "inference": {"model": {"parent": "mnist-gan@1"}},
}


def table(family: str = "vae", model: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A recipe that is accepted, and changes to it."""
    start = {"name": "x", "family": family, "data": {"name": "mnist"}, "train": {"epochs": 1}}
    return {**start, "model": model or {}, **changes}


def problems(recipe: Any, **options: Any) -> dict[str, Problem]:
    """What is wrong with a recipe, by field; fails if nothing is."""
    with pytest.raises(RecipeError) as raised:
        check_recipe(recipe, **options)
    found = {problem.field: problem for problem in raised.value.problems}
    assert len(found) == len(raised.value.problems)
    assert all(str(problem) in str(raised.value) for problem in found.values())
    return found


def attempt(recipe: Any) -> tuple[dict[str, Any] | None, RecipeError | None]:
    """The recipe, whole, or why it is none."""
    try:
        return resolved(check_recipe(recipe)), None
    except RecipeError as error:
        return None, error


@pytest.mark.parametrize("name", named(CONFIGS))
def test_each_recipe_that_ships_is_accepted_by_name(name: str) -> None:
    shipped = read_named(CONFIGS, name)
    found = resolved(check_recipe({**shipped, **COMPLETION.get(name, {})}))
    assert found["train"]["batch_size"] == shipped["train"]["batch_size"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert resolved(check_recipe(found)) == found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parts[-3]}@{path.parts[-2]}")
def test_recipes_of_bundles_that_ship_are_accepted_and_written_as_they_were(path: Path) -> None:
    """Checkpoints are bound to the written recipe, digests to its bytes: new keys stay out where they are not used."""
    recipe = json.loads(path.read_text(encoding="utf-8"))["training"]["recipe"]
    assert json.dumps(resolved(check_table(Recipe, recipe, "bundle"))) == json.dumps(recipe)
    if recipe["family"] == "inference":
        found = problems(recipe)["model.parent"]
        assert found.allowed == [recipe["name"]]
        named = {**recipe["model"], "parent": recipe["name"]}
        assert check_recipe({**recipe, "model": named}).name == recipe["name"]
        recipe = recipe["model"]["parent"]
    complete = resolved(check_recipe(recipe))
    assert {**complete, "model": recipe["model"]} == recipe
    assert {key: complete["model"][key] for key in recipe["model"]} == recipe["model"]


def test_bundles_ship() -> None:
    assert len(MANIFESTS) >= 5


def test_every_problem_is_told_at_once_with_what_came_and_what_is_allowed() -> None:
    found = problems(
        {
            "name": "Not A Name",
            "family": "gan",
            "seed": -1,
            "colour": "red",
            "data": {"name": "cifar", "size": 4, "shape": 3},
            "model": {"loss": "best", "hidden": [8, 0], "betas": [0.5, 1], "chanels": 8, "r1": float("inf")},
            "train": {"epochs": 0, "batch_size": "many"},
            "evaluate": {"samples": 3, "sample": 1},
            "export": {"storage": "int8"},
            "promote_on": "beauty",
        }
    )
    assert set(found) == {
        *("name", "seed", "colour", "data.name", "data.size", "data.shape", "model.loss", "model.hidden.1"),
        *("model.betas.1", "model.chanels", "model.r1", "train.epochs", "train.batch_size", "evaluate.samples"),
        *("evaluate.sample", "export.storage", "promote_on"),
    }
    assert found["data.name"].allowed == ["mnist", "fashion-mnist", "npz", "folder", "upload"]
    assert found["data.name"].got == "cifar"
    assert found["data.size"].allowed == ["whole number, 8 to 512"]
    assert found["model.hidden.1"].allowed == ["whole number, 1 to 65,536"]
    assert found["model.betas.1"].allowed == ["number, 0 to under 1"]
    assert found["train.epochs"].allowed == ["number, over 0 to 1,000,000"]
    assert found["train.epochs"].got == 0
    assert found["model.r1"].got == "inf"
    assert found["model.chanels"].allowed is not None
    assert "channels" in found["model.chanels"].allowed
    assert "data" in (found["colour"].allowed or [])
    assert "beauty" in found["promote_on"].message


def test_missing_keys_are_named_with_what_belongs_there() -> None:
    found = problems({"data": {}, "train": {"epochs": 1}})
    assert set(found) == {"name", "family", "data.name"}
    assert found["data.name"].allowed == ["mnist", "fashion-mnist", "npz", "folder", "upload"]


@pytest.mark.parametrize("recipe", [[], 3, None, "fashion-vae"])
def test_a_recipe_that_is_no_table_is_refused(recipe: Any) -> None:
    assert set(problems(recipe)) == {""}


@pytest.mark.parametrize("part", ["data", "model", "train", "evaluate", "export"])
def test_a_part_that_is_no_table_is_refused_by_name(part: str) -> None:
    found = problems(table(**{part: 3}))
    assert found[part].got == 3
    assert set(found) == {part}


@pytest.mark.parametrize(
    ("family", "model", "field", "allowed"),
    [
        ("vae", {"noise": False}, "model.beta", ["0"]),
        ("vae", {"beta": 0}, "model.prior", ["mixture", "none"]),
        ("vae", {"binarize": True, "likelihood": "gaussian"}, "model.likelihood", ["bernoulli"]),
        ("vae", {"network": "mlp", "batch_norm": True}, "model.batch_norm", ["false"]),
        ("vae", {"hidden": [8, 8]}, "model.hidden", ["one width"]),
        ("gan", {"network": "mlp", "d_norm": "batch"}, "model.d_norm", ["none"]),
        ("gan", {"d_norm": "batch", "r1": 1}, "model.d_norm", ["none", "spectral"]),
        ("gan", {"loss": "wasserstein"}, "model.loss", ["minimax", "non-saturating", "least-squares", "hinge"]),
        ("gan", {"r1": 10**400}, "model.r1", ["number, 0 or more"]),
        ("inference", {"parent": {}}, "model.parent", ["NAME", "NAME@VERSION", "NAME@ALIAS"]),
        ("inference", {"parent": {"name": "digits"}}, "model.parent", ["digits"]),
        ("inference", {"parent": "../up"}, "model.parent", ["NAME", "NAME@VERSION", "NAME@ALIAS"]),
        ("inference", {"parent": 3}, "model.parent", ["NAME", "NAME@VERSION", "NAME@ALIAS"]),
    ],
)
def test_values_that_do_not_go_together_are_told_at_the_key_to_change(
    family: str, model: dict[str, Any], field: str, allowed: list[str]
) -> None:
    found = problems(table(family, model))
    assert {key: problem.allowed for key, problem in found.items()} == {field: allowed}


def test_several_contradictions_and_a_misspelt_key_are_told_together() -> None:
    found = problems(table(model={"noise": False, "network": "mlp", "batch_norm": True, "beeta": 0}))
    assert set(found) == {"model.beta", "model.batch_norm", "model.beeta"}


@pytest.mark.parametrize("train", [{}, {"epochs": 1, "rounds": 1}])
def test_length_is_given_once(train: dict[str, Any]) -> None:
    assert problems(table(train=train))["train.epochs"].allowed == ["epochs alone", "rounds alone"]


@pytest.mark.parametrize("family", ["my.module", "nothing", "os.path"])
def test_a_family_of_ones_own_is_refused_with_those_that_there_are(family: str) -> None:
    found = problems(table(family, {"anything": 1}))
    assert found["family"].allowed == ["gan", "inference", "vae"]
    assert set(found) == {"family"}
    assert ("python -m training" in found["family"].message) == ("." in family)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"name": "npz"}, "data.path"),
        ({"name": "folder"}, "data.path"),
        ({"name": "npz", "path": "/etc/passwd"}, "data.path"),
        ({"name": "folder", "path": "a/../../b"}, "data.path"),
        ({"name": "upload"}, "data.upload"),
        ({"name": "upload", "upload": "../x"}, "data.upload"),
        ({"name": "mnist", "upload": UPLOAD}, "data.upload"),
        ({"name": "folder", "path": "a", "size": 9}, "data.size"),
    ],
)
def test_data_that_cannot_be_is_refused_at_its_key(data: dict[str, Any], field: str) -> None:
    assert set(problems(table(data=data))) == {field}


def test_a_path_may_lead_anywhere_for_the_owner_of_the_machine() -> None:
    recipe = check_recipe(table(data={"name": "npz", "path": "/data/../a.npz"}), own_files=True)
    assert recipe.data.path == Path("/data/../a.npz")


@pytest.mark.parametrize(
    ("image", "network", "fields"),
    [
        ((3, 64, 64), "conv", set()),
        ((3, 31, 32), "conv", {"model.network"}),
        ((3, 6, 6), "conv", {"model.network"}),
        ((3, 31, 31), "mlp", set()),
        (None, "conv", set()),
    ],
)
def test_an_upload_must_have_a_size_that_the_networks_take(
    image: tuple[int, int, int] | None, network: str, fields: set[str]
) -> None:
    recipe = table(model={"network": network}, data={"name": "upload", "upload": UPLOAD})
    if fields:
        assert set(problems(recipe, known=KnownData(image))) == fields
    else:
        assert check_recipe(recipe, known=KnownData(image)).data.upload == UPLOAD


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_a_conditional_model_needs_labels(family: str) -> None:
    recipe = table(family, {"conditional": True}, data={"name": "upload", "upload": UPLOAD})
    assert check_recipe(recipe, known=KnownData(labels=True))
    assert set(problems(recipe, known=KnownData(labels=False))) == {"model.conditional"}


def test_what_an_encoder_leaves_open_in_evaluation_is_left_to_its_parent() -> None:
    parent = {"parent": "mnist-gan"}
    assert check_recipe(table("inference", parent)).evaluate == {}
    recipe = check_recipe(table("inference", parent, evaluate={"samples": 200}, promote_on="parzen_log_likelihood"))
    assert recipe.evaluate == {"samples": 200}
    assert set(problems(table("inference", parent, evaluate={"samples": 1}))) == {"evaluate.samples"}


def test_an_encoder_is_named_after_its_parent() -> None:
    recipe = check_recipe(table("inference", {"parent": "mnist-gan@stable"}, name="inference"))
    assert (recipe.name, recipe.model["parent"]) == ("mnist-gan", "mnist-gan@stable")


@pytest.mark.parametrize(
    ("family", "changes", "metric", "direction"),
    [
        ("vae", {}, "frechet_distance", "lower"),
        ("gan", {}, "frechet_distance", "lower"),
        ("inference", {"model": {"parent": "a"}}, "psnr", "higher"),
        ("vae", {"model": {"noise": False, "beta": 0, "prior": "none"}}, "psnr", "higher"),
        ("vae", {"promote_on": "iwae", "evaluate": {"iwae_samples": 7}}, "iwae_7", "higher"),
        ("gan", {"promote_on": "class_kl"}, "class_kl", "lower"),
    ],
)
def test_headline_is_the_recipes_own_or_its_familys(
    family: str, changes: dict[str, Any], metric: str, direction: str
) -> None:
    assert headline(check_recipe(table(family, **changes))) == (metric, direction)


def test_headline_without_labels_is_one_that_needs_no_probe() -> None:
    assert headline(check_recipe(table("vae")), labelled=False) == ("psnr", "higher")
    assert headline(check_recipe(table("vae", promote_on="elbo")), labelled=False) == ("elbo", "higher")
    assert headline(check_recipe(table("gan")), labelled=False) == ("frechet_distance", "lower")


@pytest.mark.parametrize(
    ("family", "promote_on"),
    [("gan", "elbo"), ("gan", "psnr"), ("vae", "parzen_log_likelihood"), ("vae", "label_agreement")],
)
def test_a_figure_that_is_never_measured_cannot_decide(family: str, promote_on: str) -> None:
    found = problems(table(family, promote_on=promote_on))["promote_on"]
    assert found.allowed
    assert promote_on not in found.allowed


def test_what_a_figure_needs_makes_it_one_that_can_decide() -> None:
    assert check_recipe(table(evaluate={"parzen": True}, promote_on="parzen_log_likelihood"))
    assert check_recipe(table("gan", {"conditional": True}, promote_on="label_agreement"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Field(ge=1)], "whole number, 1 or more"),
        (Annotated[int, Field(ge=-2, lt=3_000)], "whole number, -2 to under 3,000"),
        (Annotated[float, Field(gt=0.5)], "number, over 0.5"),
        (Annotated[float, Field(le=2)], "number, at most 2"),
        (Annotated[float | None, Field(lt=2)], "number, under 2"),
        (float, "number"),
        (tuple[int, int], "list of 2: whole number"),
        (Annotated[list[Literal["a", "b"]], Field(max_length=4)], "list of 0 to 4: a"),
        (Literal[3], "3"),
        (dict[str, int] | str, "table or text"),
        (DataRecipe, "table"),
        (Path, "path"),
        (Annotated[str, Field(pattern="^a$")], "text that matches ^a$"),
    ],
)
def test_what_is_allowed_is_put_in_words(kind: Any, words: str) -> None:
    _, place = find(create_model("Own", key=(kind, ...)), ["key"])
    assert allowed(place)[0] == words


def test_long_values_are_cut_in_what_is_told() -> None:
    found = problems(table(model={"loss" * 30: 1, "network": "n" * 10_000, "lr": [0] * 10_000}))
    assert all(len(str(problem.got)) <= 100 and len(field) <= 110 for field, problem in found.items())


def test_new_keys_are_written_only_where_they_are_used() -> None:
    assert "upload" not in DataRecipe(name="mnist").model_dump()
    assert "promote_on" not in resolved(check_recipe(table()))
    assert resolved(check_recipe(table(promote_on="recall")))["promote_on"] == "recall"
    assert resolved(check_recipe(table(data={"name": "upload", "upload": UPLOAD})))["data"]["upload"] == UPLOAD


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["name", "family", "seed", "data", "model", "train", "evaluate", "export", "promote_on"]


@settings(max_examples=150, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1),
    family=st.sampled_from(["vae", "gan", "inference"]),
)
def test_anything_is_accepted_whole_or_refused_with_its_fields(changes: dict[str, Any], family: str) -> None:
    found, error = attempt({**table(family), **changes})
    if error is None:
        assert found
        assert resolved(check_recipe(found)) == found
    else:
        assert error.problems
        assert json.dumps([vars(problem) for problem in error.problems], allow_nan=False)
        assert {problem.field.partition(".")[0] for problem in error.problems} <= {*KEYS}


def test_the_schema_of_a_whole_recipe_leads_every_family_to_its_table() -> None:
    schema = recipe_schema()
    assert json.loads(json.dumps(schema)) == schema
    for rule in schema["allOf"]:
        name = rule["then"]["properties"]["model"]["$ref"].removeprefix("#/$defs/")
        assert "lr" in schema["$defs"][name]["properties"] or "g_lr" in schema["$defs"][name]["properties"]
    assert schema["properties"]["family"]["enum"] == ["vae", "gan", "inference"]
    assert schema["$defs"]["DataRecipe"]["properties"]["size"]["unit"] == "pixels"


def test_the_error_is_one_of_the_bundles() -> None:
    assert issubclass(RecipeError, BundleError)


def test_the_schema_needs_no_torch() -> None:
    unwanted = {"torch", "training", "service", "fastapi", "onnxruntime", "sqlalchemy"}
    code = f"import sys, bundle.recipes; print(*sorted({unwanted!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []
