"""Dockerfile, compose file and the page about them agree with the code. No container engine is needed."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
PAGE = (ROOT / "docs" / "containers.md").read_text()

VARIABLES = {f"GENSERVE_{name.upper()}" for name in Settings.model_fields}
IMAGES = ["training", "service-gpu", "service"]


def _stages() -> dict[str, str]:
    parts = re.split(r"^FROM \S+ AS (\S+)\n", DOCKERFILE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _script(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    for program in ("docker", "curl"):  # an engine that does not answer
        stub = tmp_path / program
        stub.write_text("#!/bin/sh\nexit 1\n")
        stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
    return subprocess.run([ROOT / "scripts" / "containers.sh"], env=environment, capture_output=True, text=True)


def test_service_is_what_a_build_without_target_makes() -> None:
    assert [name for name in _stages() if name in IMAGES] == IMAGES
    assert list(_stages())[-1] == "service"


def test_every_target_of_the_compose_file_is_a_stage() -> None:
    assert sorted(re.findall(r"target: ([\w-]+)", COMPOSE)) == sorted(IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_image_runs_as_a_user_without_rights_and_starts_a_module_that_exists(image: str) -> None:
    stage = _stages()[image]
    assert re.findall(r"^USER (.+)$", stage, re.M) == ["10001:10001"]
    module = re.search(r'^(?:CMD|ENTRYPOINT) \["python", "-m", "(\w+)"', stage, re.M)
    assert module is not None
    assert (ROOT / module[1] / "__main__.py").is_file()
    assert re.search(rf"^COPY {module[1]} {module[1]}$", stage, re.M)


@pytest.mark.parametrize("image", ["service", "service-gpu"])
def test_health_check_of_the_image_asks_a_path_of_the_service(image: str) -> None:
    assert "HEALTHCHECK" in _stages()[image]
    assert "'/health/live'" in _stages()[image]


def test_the_two_services_differ_in_base_and_device_alone() -> None:
    def bare(stage: str) -> list[str]:
        text = re.sub(r"(?m)^\s*#.*\n|--start-period=\S+", "", stage).replace(" GENSERVE_DEVICE=cuda", "")
        return text.replace("service-gpu-packages", "service-packages").split()

    assert bare(_stages()["service-gpu"]) == bare(_stages()["service"])


def test_no_image_name_names_a_registry() -> None:
    names = re.findall(r"^ARG \w+_IMAGE=(\S+)$", DOCKERFILE, re.M) + re.findall(r"image: (\S+)", COMPOSE)
    assert len(names) == 5
    assert not [name for name in names if re.match(r"[^/]*[.:][^/]*/|localhost/", name)]


def test_dockerfile_needs_no_newer_engine_than_20_10() -> None:
    assert not re.search(r"^# *syntax=|--link\b|<<\S", DOCKERFILE, re.M)


def test_variables_that_images_and_compose_file_give_the_service_are_settings() -> None:
    given = {name for image in IMAGES for name in re.findall(r"\b(GENSERVE_\w+)=", _stages()[image])}
    given |= set(re.findall(r"^ +(GENSERVE_\w+):", COMPOSE, re.M))
    assert given - {"GENSERVE_DATA"} <= VARIABLES  # where training looks for data
    assert {"GENSERVE_HOST", "GENSERVE_PORT", "GENSERVE_STORE", "GENSERVE_QUEUE_IMAGES"} <= given


def test_containers_are_given_longer_to_stop_than_the_service_takes_to_drain() -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert grace is not None
    assert int(grace[1]) > Settings.model_fields["drain_s"].default
    drain = re.search(r"^DRAIN_S=(\d+)$", (ROOT / "scripts" / "containers.sh").read_text(), re.M)
    assert drain is not None
    assert int(drain[1]) == Settings.model_fields["drain_s"].default


def test_ports_are_published_on_the_loopback_alone() -> None:
    ports = re.findall(r'ports: \["(.+)"\]', COMPOSE)
    assert len(ports) == 2
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{GENSERVE_\w*PORT:-\d+\}:8000", port) for port in ports)


def test_context_holds_what_the_images_copy_and_nothing_else() -> None:
    assert IGNORED[0] == "*"
    kept = {line.removeprefix("!").rstrip("/") for line in IGNORED if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in [word for word in line.split() if not word.startswith("--")][:-1]
    }
    assert kept == {source.replace("wheels*/", "wheels/") for source in copied}
    assert all((ROOT / source).exists() for source in copied if not source.startswith("wheels"))
    assert kept.isdisjoint({".git", ".venv", "runs", "data", "tests", "*", "**"})


def test_page_names_every_target_and_every_variable() -> None:
    for name in {*IMAGES, *re.findall(r"GENSERVE_\w+", COMPOSE), *re.findall(r"ARG (\w+)", DOCKERFILE)}:
        assert f"`{name}`" in PAGE, name


def test_check_is_skipped_where_no_engine_answers(tmp_path: Path) -> None:
    done = _script(tmp_path, REQUIRE="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "skipped: no container engine answers (docker version)\n"


def test_check_fails_without_engine_where_one_is_required(tmp_path: Path) -> None:
    done = _script(tmp_path, REQUIRE="1")
    assert done.returncode == 1
    assert done.stdout.startswith("skipped: ")
