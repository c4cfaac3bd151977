"""`python -m service tune` from end to end, on tiny bundles; and the service takes up what it writes."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from service.__main__ import main
from service.engine.devices import Device
from service.engine.plan import largest_batch
from service.settings import Settings, why_invalid
from tests.service.support import plain_environment, process, until

LARGEST = 4


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    for name in ("GENSERVE_SETTINGS", "GENSERVE_LANES", "GENSERVE_THREADS", "GENSERVE_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GENSERVE_STORE", str(store))


def tune(model: str, *options: str) -> int:
    return main(["tune", model, "--seconds", "0.2", "--largest", str(LARGEST), *options])


def test_what_is_written_is_what_the_service_then_does(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'# mine\nstore = "{store}"  # here\n')
    command = [sys.executable, "-m", "service", "tune", "gan", "--seconds", "1", "--largest", str(LARGEST)]
    environment = plain_environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--write", str(file)], env=environment, capture_output=True, encoding="utf-8", timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "predicted p99 = 2 x" in done.stdout
    assert "+max_batch_size = " in done.stdout
    text = file.read_text()
    assert text.startswith(f'# mine\nstore = "{store}"  # here\n')
    written = tomllib.loads(text)
    assert written.keys() == {"store", "lanes", "threads", "models"}
    batch = written["models"]["gan"]["max_batch_size"]
    assert 1 <= batch <= LARGEST
    other = 2 * LARGEST
    with process(store, GENSERVE_SETTINGS=str(file), GENSERVE_MAX_BATCH_SIZE=str(other)) as (_, url):
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        families = parse(httpx.get(f"{url}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
    found = {(s.labels["model"], s.value) for s in samples if s.name == "genserve_max_batch_images"}
    assert ("gan", batch) in found
    assert ("colour-vae", other) in found
    assert [s.value for s in samples if s.name == "genserve_lanes"] == [written["lanes"]]


def test_dry_run_shows_the_change_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("port = 1\n")
    monkeypatch.setenv("GENSERVE_SETTINGS", str(file))
    assert tune("fashion-vae@first", "--dry-run", "--graph", "encode") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "+[models.fashion-vae]" in out
    assert "is left as it is" in out
    assert file.read_text() == "port = 1\n"


def test_file_that_the_settings_come_from_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("lanes = 1\n[models.gan]\nmax_batch_size = 2  # tuned for lanes = 7, threads = 3\n")
    monkeypatch.setenv("GENSERVE_SETTINGS", str(file))
    monkeypatch.setenv("GENSERVE_THREADS", "1")
    assert tune("fashion-vae", "--keep-lanes") == 0
    out = capsys.readouterr().out
    assert "[models.gan] was tuned for lanes = 7, threads = 3" in out
    assert "GENSERVE_THREADS is set, and wins" in out
    found = tomllib.loads(file.read_text())
    assert (found["lanes"], found["threads"]) == (1, 1)
    assert found["models"].keys() == {"gan", "fashion-vae"}


def test_without_a_file_the_settings_are_shown_and_none_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tune("gan") == 0
    out = capsys.readouterr().out
    assert "[models.gan]\nmax_batch_size = " in out
    assert "nothing is written" in out
    assert list(tmp_path.iterdir()) == []


def test_target_that_nothing_meets_is_said_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune("gan", "--p99-ms", "0.0001", "--dry-run") == 0
    assert "NO SETTING MEETS A P99 OF 0.0001 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "options", "environment", "words"),
    [
        ("nobody", [], {}, ["no model 'nobody'", "colour-vae", "gan"]),
        ("gan@9", [], {}, ["'9'", "it has: 1"]),
        ("gan", ["--graph", "encode"], {}, ["no graph 'encode'", "it has: decode"]),
        ("damaged", [], {}, ["decode.onnx"]),
        ("gan", [], {"GENSERVE_STORE": "/nowhere/at/all"}, ["/nowhere/at/all", "`store`"]),
        ("gan", [], {"GENSERVE_LANES": "many"}, ["settings: lanes", "'many'"]),
        ("gan", [], {"GENSERVE_DEVICE": "cuda"}, ["cuda", "CPUExecutionProvider"]),
        ("gan", [], {"GENSERVE_SETTINGS": "/nowhere.toml"}, ["settings:", "/nowhere.toml"]),
        ("gan", ["--write", "/nowhere/at/all.toml"], {}, ["/nowhere/at/all.toml cannot be written", "no folder"]),
    ],
)
def test_what_cannot_be_ends_it_with_2_and_one_line_that_says_why(
    model: str,
    options: list[str],
    environment: dict[str, str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tune(model, *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("genserve: ")
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    "options", [["--p99-ms", "0"], ["--seconds", "soon"], ["--largest", "4097"], ["--write", "a.toml", "--dry-run"]]
)
def test_option_that_cannot_be_ends_it_with_2_and_says_which(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tune", "gan", *options])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert options[0] in last
    assert options[-1] in last


def test_settings_of_a_model_win_over_those_for_all_and_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[models.a]\nmax_batch_size = 3\n[models.b]\nmax_batch_size = 4\n[models.c]\n")
    monkeypatch.setenv("GENSERVE_SETTINGS", str(file))
    monkeypatch.setenv("GENSERVE_MODELS", json.dumps({"b": {"max_batch_size": 5}}))
    settings = Settings(max_batch_size=9)
    found = [largest_batch(settings, model, Device("cpu"), []) for model in "abcd"]
    assert found == [3, 5, 9, 9]


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ('{"a@2": {}}', "models.a@2"),
        ('{"a": {"max_batch_size": 0}}', "models.a.max_batch_size: .*got 0"),
        ('{"a": {"lanes": 2}}', "models.a.lanes"),
        ("{a", "models"),
    ],
)
def test_settings_of_a_model_that_cannot_be_are_refused(
    models: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENSERVE_MODELS", models)
    with pytest.raises(ValueError, match="models") as raised:
        Settings()
    said = why_invalid(raised.value)
    assert re.search(words, said)
    assert len(said.splitlines()) == 1
