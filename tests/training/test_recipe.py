"""Recipes are checked once, before anything is trained, and errors name the key."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from bundle.recipes import EvaluationSettings, GanRecipe, check_recipe
from bundle.recipes.fitting import KnownData
from tests.training.samples import DATA, ROOT
from training.__main__ import main
from training.errors import RecipeError
from training.families.base import Context, build_family
from training.networks.conv import Pyramid
from training.objectives.adversarial import GAN_LOSSES
from training.recipe import Recipe, check_table, parse_overrides, read_recipe, resolved

TEXT = """
name = "tiny"
family = "vae"
[data]
name = "npz"
path = "mnist_small.npz"
[model]
network = "mlp"
[train]
epochs = 1
"""
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(TEXT)
    return tmp_path / "tiny.toml"


def build(recipe: Recipe, labels: tuple[str, ...] | None = ("a", "b")) -> None:
    build_family(Context(recipe, (1, 16, 16), labels))


@pytest.mark.parametrize("family", ["vae", "gan"])
@pytest.mark.parametrize("key", ["zzz", "data.zzz", "model.zzz", "train.zzz", "evaluate.zzz", "export.zzz"])
def test_unknown_key_at_each_level_ends_the_command_before_training_with_the_keys_that_are_known(
    key: str, family: str, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("GENSERVE_DATA", str(DATA))
    places = ["--store", str(tmp_path / "store"), "--runs", str(tmp_path / "runs")]
    assert main([*places, "train", str(path), "--set", f"{key}=1", "--set", f"family={family}"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(r"RecipeError: .*zzz: unknown key; known keys are \['\w+'[\],]", error)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", r"train\.epochs: .*greater than 0, not 0"),
        ("train.epochs=long", r"train\.epochs: .*valid number.*, not 'long'"),
        ("train.batch_size=0", r"train\.batch_size"),
        ("seed=-1", "seed"),
        ("name=Not A Name", "name: String should match"),
        ("data.name=cifar", r"data\.name: .*'mnist', 'fashion-mnist', 'npz', 'folder' or 'upload'"),
        ("export.storage=int8", r"export\.storage"),
        ("train=3", "train: .*not 3"),
        ("name.first=x", "'name' is a value, not a table"),
        ("epochs", "expected table.key=value"),
    ],
)
def test_impossible_value_is_named_with_what_came(override: str, message: str, path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(path, [override])


def test_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(TEXT.replace('family = "vae"', ""))
    with pytest.raises(RecipeError, match=r"short\.toml: family: missing; expected text"):
        read_recipe(tmp_path / "short.toml")


@pytest.mark.parametrize(("overrides", "found"), [(["train.rounds=3"], 3), ([], 16)])
def test_length_is_given_in_epochs_or_in_rounds(overrides: list[str], found: int, path: Path) -> None:
    if overrides:
        path.write_text(TEXT.replace("epochs = 1", ""))
    assert read_recipe(path, overrides).train.total_rounds(2048) == found


@pytest.mark.parametrize(("epochs", "rounds"), [("epochs = 1", ["train.rounds=3"]), ("", [])])
def test_length_is_given_once(epochs: str, rounds: list[str], path: Path) -> None:
    path.write_text(TEXT.replace("epochs = 1", epochs))
    with pytest.raises(RecipeError, match="set one of the two"):
        read_recipe(path, rounds)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", None])
def test_file_that_is_no_toml_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"bad\.toml (is not TOML|cannot be read)"):
        read_recipe(path)


def test_overrides_take_toml_values_and_bare_words(path: Path) -> None:
    items = ["train.epochs=0.5", "model.hidden=[3, 4]", "model.beta=2", "model.network=conv", "export.storage=float16"]
    recipe = read_recipe(path, [*items, "model.binarize=true", "data.attribution=Me = myself"])
    assert recipe.train.epochs == 0.5
    assert recipe.model == {"network": "conv", "hidden": [3, 4], "beta": 2, "binarize": True}
    assert recipe.data.attribution == "Me = myself"
    assert parse_overrides(["a.b.c=1", "a.b.d=x"]) == {"a": {"b": {"c": 1, "d": "x"}}}


def test_resolved_recipe_has_every_default_and_reads_back_as_itself(path: Path) -> None:
    family = build_family(Context(read_recipe(path), (1, 16, 16), None))
    table = resolved(family.context.recipe)
    assert table["model"]["likelihood"] == "bernoulli"
    assert table["train"]["threads"] == 1
    again = check_table(Recipe, table, "again")
    assert again == family.context.recipe
    assert resolved(build_family(Context(again, (1, 16, 16), None)).context.recipe) == table


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_each_recipe_that_ships_parses_and_builds_its_family(config: Path) -> None:
    recipe = read_recipe(config)
    check_table(EvaluationSettings, recipe.evaluate, str(config))
    image = (3, 64, 64) if recipe.data.path else (1, 28, 28)
    if recipe.family == "inference":
        parent = resolved(read_recipe(ROOT / "configs" / "mnist-gan.toml"))
        recipe = recipe.model_copy(update={"model": {**recipe.model, "parent": parent}})
    else:
        assert recipe.name == config.stem
        assert tomllib.loads(config.read_text())["name"] == recipe.name
    family = build_family(Context(recipe, image, None))
    assert "decode" in family.graphs()


def test_recipes_are_there() -> None:
    assert {"mnist-vae", "mnist-gan", "fashion-vae", "fashion-gan", "avatars-gan", "inference"} <= {
        config.stem for config in CONFIGS
    }


@pytest.mark.parametrize(
    ("family", "model", "message"),
    [
        ("nothing", {}, "no family 'nothing': module 'training.families.nothing' cannot be found"),
        ("training.recipe", {}, r"is no family: it has no function build"),
        ("vae", {"noise": False}, "noise = false has no rate to weigh; set beta = 0"),
        ("vae", {"beta": 0}, "set prior = 'mixture' or 'none'"),
        ("vae", {"binarize": True, "likelihood": "gaussian"}, "needs likelihood = 'bernoulli'"),
        ("vae", {"hidden": [8, 8]}, "takes one width"),
        ("vae", {"network": "mlp", "hidden": []}, "hidden"),
        ("vae", {"network": "mlp", "hidden": [0]}, "hidden.0: .*greater than or equal to 1"),
        ("gan", {"loss": "wasserstein"}, "must be bounded"),
        ("gan", {"network": "mlp", "loss": "wasserstein", "d_norm": "spectral"}, "d_norm='spectral' is for network"),
        ("gan", {"d_norm": "batch", "r1": 1.0}, "mixes images"),
        ("gan", {"d_norm": "batch", "gradient_penalty": 1.0}, "mixes images"),
        ("gan", {"loss": "best"}, "loss: .*'minimax', 'non-saturating'"),
        ("gan", {"betas": [0.5, 1.0]}, "betas.1: .*less than 1"),
        ("gan", {"betas": [0.5]}, "betas"),
        ("gan", {"augment": 0.5}, "augment"),
        ("inference", {"parent": "mnist-gan"}, "`infer` puts the recipe of that bundle here"),
        ("inference", {}, "parent: missing; expected table or text"),
    ],
)
def test_choices_that_cannot_be_are_refused_with_a_way_out(family: str, model: dict[str, Any], message: str) -> None:
    table = {"name": "x", "family": family, "data": {"name": "mnist"}, "model": model, "train": {"epochs": 1}}
    with pytest.raises(RecipeError, match=message):
        build(check_table(Recipe, table, "recipe"))


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_conditional_model_needs_labels(family: str) -> None:
    table = {"name": "x", "family": family, "data": {"name": "mnist"}, "train": {"epochs": 1}}
    recipe = check_table(Recipe, {**table, "model": {"conditional": True}}, "recipe")
    with pytest.raises(RecipeError, match="the data has no labels"):
        build(recipe, labels=None)


def test_convolutions_need_sides_that_can_be_halved() -> None:
    table = {"name": "x", "family": "gan", "data": {"name": "mnist"}, "train": {"epochs": 1}}
    with pytest.raises(RecipeError, match="images are 15x16; convolutional networks need even sides"):
        build_family(Context(check_table(Recipe, table, "recipe"), (1, 16, 15), None))


@pytest.mark.parametrize("side", range(2, 41))
def test_sizes_that_the_schema_takes_are_those_that_the_networks_take(side: int) -> None:
    table = {"name": "x", "family": "gan", "data": {"name": "npz", "path": "a.npz"}, "train": {"epochs": 1}}
    verdicts = []
    for judge in (lambda: Pyramid.of((1, side, 16), 4), lambda: check_recipe(table, known=KnownData((1, side, 16)))):
        try:
            judge()
            verdicts.append(True)
        except RecipeError:
            verdicts.append(False)
    assert verdicts[0] == verdicts[1]


def test_losses_of_the_schema_are_those_that_there_are() -> None:
    assert set(get_args(GanRecipe.model_fields["loss"].annotation)) == set(GAN_LOSSES)


def test_what_the_service_checks_is_what_training_builds(path: Path) -> None:
    """The recipe that `check_recipe` fills in is, to the letter, the one that a family writes into its bundle."""
    for family in ("vae", "gan"):
        table = {**tomllib.loads(TEXT), "family": family}
        built = build_family(Context(read_recipe(path, [f"family={family}"]), (1, 16, 16), None)).context.recipe
        checked = resolved(check_recipe(table))
        assert checked["model"] == resolved(built)["model"]
        assert list(checked["model"]) == list(built.model)
        assert checked["evaluate"] == EvaluationSettings().model_dump(mode="json")
