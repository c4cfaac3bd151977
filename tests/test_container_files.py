"""Dockerfile, compose file and the page about them agree with the code. No container engine is needed."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from training.__main__ import main
from training.worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
QUICK: dict[str, Any] = yaml.safe_load((ROOT / "scripts" / "containers" / "quick.yml").read_text())
PROMETHEUS = ROOT / "deploy" / "prometheus"
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
PAGE = (ROOT / "docs" / "containers.md").read_text()

VARIABLES = {f"GENSERVE_{name.upper()}" for name in Settings.model_fields}
IMAGES = ["training", "service-gpu", "service"]
OURS = {"api", "api-gpu", "worker", "worker-gpu", "setup"}
LAST_WORDS_S = 10  # that a worker gives the database at its end


def _stages() -> dict[str, str]:
    parts = re.split(r"^FROM \S+ AS (\S+)\n", DOCKERFILE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _profile(name: str | None) -> set[str]:
    return {one for one, service in SERVICES.items() if service.get("profiles") == (None if name is None else [name])}


def _mounts(service: str) -> dict[str, str]:
    """Folder in the container → rw or ro, as it is without variables of the user's."""
    plain = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume) for volume in SERVICES[service]["volumes"]]
    return {parts[1]: (parts[2] if len(parts) > 2 else "rw") for parts in (volume.split(":") for volume in plain)}


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


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
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} == set(IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_image_runs_as_a_user_without_rights_and_starts_a_module_that_exists(image: str) -> None:
    stage = _stages()[image]
    assert re.findall(r"^USER (.+)$", stage, re.M) == ["10001:10001"]
    module = re.search(r'^(?:CMD|ENTRYPOINT) \["python", "-m", "(\w+)"', stage, re.M)
    assert module is not None
    assert (ROOT / module[1] / "__main__.py").is_file()
    for package in (module[1], "bundle", "jobs"):
        assert re.search(rf"^COPY {package} {package}$", stage, re.M)


@pytest.mark.parametrize("image", ["service", "service-gpu"])
def test_health_check_of_the_image_asks_a_path_of_the_service(image: str) -> None:
    assert "HEALTHCHECK" in _stages()[image]
    assert "'/health/live'" in _stages()[image]


def test_the_two_services_differ_in_base_and_device_alone() -> None:
    def bare(stage: str) -> list[str]:
        text = re.sub(r"(?m)^\s*#.*\n|--start-period=\S+", "", stage).replace(" GENSERVE_DEVICE=cuda", "")
        return text.replace("service-gpu-packages", "service-packages").split()

    assert bare(_stages()["service-gpu"]) == bare(_stages()["service"])


def test_no_image_name_names_a_registry_and_all_have_a_version() -> None:
    names = re.findall(r"^ARG \w+_IMAGE=(\S+)$", DOCKERFILE, re.M)
    names += [service["image"] for service in SERVICES.values()]
    assert len(names) == 2 + len(SERVICES)
    assert not [name for name in names if re.match(r"[^/]*[.:][^/]*/|localhost/", name)]
    assert not [name for name in names if ":" not in name or name.endswith(":latest")]


def test_dockerfile_needs_no_newer_engine_than_20_10() -> None:
    assert not re.search(r"^# *syntax=|--link\b|<<\S", DOCKERFILE, re.M)
    assert "start_interval" not in COMPOSE_TEXT


def test_variables_that_images_and_compose_file_give_the_service_are_settings() -> None:
    given = {name for image in IMAGES for name in re.findall(r"\b(GENSERVE_\w+)=", _stages()[image])}
    given |= {name for name in SERVICES["api"]["environment"] if name.startswith("GENSERVE_")}
    assert given <= VARIABLES
    assert {"GENSERVE_HOST", "GENSERVE_STORE", "GENSERVE_QUEUE_IMAGES", "GENSERVE_DATABASE_PASSWORD_FILE"} <= given


def test_what_starts_without_a_profile_is_api_worker_postgres_and_what_prepares_them() -> None:
    assert _profile(None) == {"api", "worker", "postgres", "setup"}
    assert _profile("gpu") == {"api-gpu", "worker-gpu"}
    assert _profile("observability") == {"prometheus", "grafana"}
    assert len(SERVICES) == 8


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if name not in OURS:  # whose images name the user
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= set(limits)


@pytest.mark.parametrize("name", SERVICES)
def test_no_password_is_in_the_file(name: str) -> None:
    secret = {key for key in SERVICES[name].get("environment", {}) if re.search("PASSWORD|SECRET|TOKEN", key)}
    assert all(key.endswith("_FILE") for key in secret)
    assert all(SERVICES[name]["environment"][key].startswith("/secrets/") for key in secret)
    assert not re.search(r"://\w+:\w+@", str(SERVICES[name]))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"setup"}))
def test_every_service_that_stays_has_a_health_check_and_waits_for_what_it_needs(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    needs = SERVICES[name].get("depends_on", {})
    for needed, how in needs.items():
        stays = SERVICES[needed]["restart"] != "no"
        assert how == {"condition": "service_healthy" if stays else "service_completed_successfully"}
    if name in OURS:
        assert set(needs) == {"setup", "postgres"}


def test_who_may_write_where() -> None:
    assert _mounts("api")["/models"] == "rw"  # for aliases
    assert _mounts("worker")["/models"] == _mounts("worker")["/runs"] == "rw"
    assert (_mounts("api")["/uploads"], _mounts("worker")["/uploads"]) == ("rw", "ro")
    assert _mounts("api")["/data"] == _mounts("worker")["/data"] == "ro"
    assert "/runs" not in _mounts("api")
    assert {_mounts(name)["/secrets"] for name in set(SERVICES) - {"setup", "prometheus"}} == {"ro"}


def test_new_volumes_are_made_by_the_container_that_is_first() -> None:
    needed = {"/models", "/runs", "/uploads", "/secrets"}
    assert {folder for folder, access in _mounts("setup").items() if access == "rw"} == needed
    owned = re.search(r"install --directory --owner=genserve --group=genserve (.+) *$", _stages()["service"], re.M)
    assert owned is not None
    assert needed - {"/models"} <= set(owned[1].split())


def test_worker_and_database_reach_each_other_and_the_api_and_nothing_else() -> None:
    assert SERVICES["worker"]["networks"] == SERVICES["postgres"]["networks"] == ["database"]
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert "ports" not in SERVICES["worker"]
    assert "ports" not in SERVICES["postgres"]


def test_containers_are_given_longer_to_stop_than_they_take() -> None:
    drain = Settings.model_fields["drain_s"].default
    assert _seconds(SERVICES["api"]["stop_grace_period"]) > 2 * drain + 10
    assert _seconds(SERVICES["worker"]["stop_grace_period"]) > WorkerSettings().grace_s + LAST_WORDS_S
    said = re.search(r"^DRAIN_S=(\d+)\b", (ROOT / "scripts" / "containers" / "image.sh").read_text(), re.M)
    assert said is not None
    assert int(said[1]) == drain


@pytest.mark.parametrize(
    "command",
    [
        re.findall(r'^CMD \["(\w+)"\]$', _stages()["training"], re.M),
        SERVICES["worker-gpu"]["command"],
        QUICK["services"]["worker"]["command"],
    ],
)
def test_command_of_a_worker_is_one_of_trainings(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command[0] == "worker"
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    options = set(re.findall(r"--\w+", capsys.readouterr().out))
    assert {word for word in command if word.startswith("--")} <= options


def test_services_with_a_gpu_reserve_one() -> None:
    for name in _profile("gpu"):
        reserved = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert SERVICES["worker-gpu"]["build"]["args"] == {"TORCH": "index"}
    assert {"training-packages-index", "training-packages-wheels"} <= set(_stages())


def test_prometheus_of_the_compose_file_scrapes_the_api_and_loads_the_alerts() -> None:
    alone, composed = (yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("prometheus.yml", "compose.yml"))
    job = composed["scrape_configs"][0]
    assert job["static_configs"] == [{"targets": ["api:8000"]}]
    assert {one["names"][0] for one in job["dns_sd_configs"]} <= set(SERVICES)
    assert job["job_name"] == alone["scrape_configs"][0]["job_name"]
    assert {**composed, "scrape_configs": None} == {**alone, "scrape_configs": None}
    assert "--config.file=/etc/prometheus/compose.yml" in SERVICES["prometheus"]["command"]
    assert _mounts("prometheus")["/etc/prometheus"] == "ro"


def test_grafana_has_its_data_source_and_dashboard() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards" / "genserve.yml").read_text())["providers"][0]
    assert {provider["options"]["path"], "/etc/grafana/provisioning"} <= set(_mounts("grafana"))


def test_ports_are_published_on_the_loopback_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w*PORT:-\d+\}:\d+", port) for port in ports)


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


def test_page_names_every_target_service_volume_and_variable() -> None:
    names = {*IMAGES, *SERVICES, *COMPOSE["volumes"]}
    names |= {*re.findall(r"(?:GENSERVE|OTEL)_\w+", COMPOSE_TEXT), *re.findall(r"\$\{(\w+):-", COMPOSE_TEXT)}
    for name in names | {*re.findall(r"ARG (\w+)", DOCKERFILE)}:
        assert f"`{name}`" in PAGE, name


def test_check_is_skipped_where_no_engine_answers(tmp_path: Path) -> None:
    done = _script(tmp_path, REQUIRE="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "skipped: no container engine answers (docker version)\n"


def test_check_fails_without_engine_where_one_is_required(tmp_path: Path) -> None:
    done = _script(tmp_path, REQUIRE="1")
    assert done.returncode == 1
    assert done.stdout.startswith("skipped: ")
