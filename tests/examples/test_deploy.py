"""The files that deploy the reference system: what they say of ports, variables and probes is what the code does."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from asgi_resilience import Settings
from asgi_resilience.monitoring.agent_metrics import HTTP_CAN_CONNECT

yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "examples" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8"))
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")

# Of the Agent, as its own configuration file names them.
AGENT = {
    *("DD_API_KEY", "DD_SITE", "DD_HOSTNAME", "DD_APM_ENABLED", "DD_APM_NON_LOCAL_TRAFFIC"),
    *("DD_DOGSTATSD_NON_LOCAL_TRAFFIC", "DD_LOGS_ENABLED", "DD_LOGS_CONFIG_CONTAINER_COLLECT_ALL"),
    *("DD_HISTOGRAM_PERCENTILES", "DD_KUBERNETES_KUBELET_HOST"),
}
DDTRACES = """
from ddtrace.internal.settings._supported_configurations import SUPPORTED_CONFIGURATIONS
print(*SUPPORTED_CONFIGURATIONS)
"""
AMAZONS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def manifest(kind, name):
    """The one of this kind and name."""
    (found,) = (each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


POD = manifest("Deployment", "inference-service")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
(AGENT_CONTAINER,) = manifest("DaemonSet", "datadog-agent")["spec"]["template"]["spec"]["containers"]
POD_VARIABLES = {each["name"]: each for each in CONTAINER["env"]}


def command():
    """What the container runs, word by word."""
    return json.loads(re.findall(r"^CMD (\[.*\])", DOCKERFILE, re.MULTILINE)[-1])


def number_of(option):
    """The number behind an option of the command."""
    return float(command()[command().index(option) + 1])


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda each: each["kind"])
def test_kubernetes_knows_every_field(document):
    """Each manifest fits Kubernetes' own schema of its kind, without a field that is not in it."""
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    assert schemas.validate(document, schemas.latest_version(), strict=True)
    with pytest.raises(schemas.ValidationError):
        schemas.validate({**document, "sepc": {}}, schemas.latest_version(), strict=True)


def test_compose_knows_every_field():
    """The compose file fits the specification's schema, which has no other fields."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*check, str(DEPLOY / "docker-compose.yaml")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ok -- validation done")


def test_the_image_does_not_run_as_root():
    """The last stage has a user of its own, by number, so that Kubernetes can see that it is not root."""
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert last.index("USER 10001") < last.index("CMD [")
    assert POD["spec"]["securityContext"]["runAsUser"] == 10001
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_command_is_the_command_line():
    """The tracer runs our command line, with a target that is there."""
    words = command()
    assert words[:4] == ["ddtrace-run", "asgi-resilience", "run", "--factory"]
    module, _, name = words[4].partition(":")
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert f"def {name}(" in source
    assert words[words.index("--host") + 1] == "0.0.0.0"


def test_what_is_copied_is_there():
    """Every file that the image is made of exists, and is not ignored."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_extras_are_the_projects():
    """The image installs extras that the project has."""
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", DOCKERFILE)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(extras.split(",")) <= set(re.findall(r"^(\w+) = \[.*\]", project, re.MULTILINE))


def test_no_image_is_the_latest():
    """Each image names its version: what runs tomorrow is what was tried today."""
    images = [each["image"] for each in COMPOSE["services"].values()]
    images += [CONTAINER["image"], AGENT_CONTAINER["image"]]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 12
    for image in images:
        assert re.search(r":[v\d]", image.rpartition("/")[2])
        assert "latest" not in image
    agents = {COMPOSE["services"]["datadog-agent"]["image"], AGENT_CONTAINER["image"]}
    assert len(agents) == 1


@pytest.mark.parametrize(
    "variables",
    [COMPOSE["services"]["inference-service"]["environment"], POD_VARIABLES],
    ids=["compose", "pod"],
)
def test_the_service_reads_every_variable(variables):
    """Each is one of our settings, of ddtrace 4's, or one that the service's own configuration reads."""
    if find_spec("ddtrace") is None:  # not loaded: other tests count on its absence
        pytest.skip("ddtrace is not installed")
    told = subprocess.run([sys.executable, "-c", DDTRACES], check=True, capture_output=True, text=True).stdout
    sources = "".join(
        (ROOT / "examples/inference_service" / name).read_text(encoding="utf-8")
        for name in ("config.py", "limits.py")
    )
    own = set(re.findall(r'env(?:iron)?(?:\[|\.get\()"(\w+)"', sources))
    settings = {f"ASGI_RESILIENCE_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    datadogs = {"DD_DOGSTATSD_URL", *told.split()}
    assert set(variables) <= own | settings | datadogs | AMAZONS
    needed = set(re.findall(r'env\["(\w+)"\]', sources))
    assert needed <= set(variables)
    assert {"DD_SERVICE", "DD_ENV", "DD_VERSION", "DD_TRACE_AGENT_URL", "DD_DOGSTATSD_URL"} <= set(variables)


def test_our_settings_are_read():
    """What the pod sets of ours is accepted, and is what the rest of the file counts on."""
    given = {name: each["value"] for name, each in POD_VARIABLES.items() if "value" in each}
    settings = Settings.from_env(given)
    assert settings.timeout == 30.0
    assert settings.trusted_proxies


@pytest.mark.parametrize("old", ["DD_TRACE_ANALYTICS_ENABLED", "DD_TRACE_SAMPLE_RATE", "DD_DOGSTATSD_HOST"])
def test_what_ddtrace_4_ignores_is_not_set(old):
    """Variables of older guides would do nothing, without a word."""
    assert old not in "".join(path.read_text(encoding="utf-8") for path in DEPLOY.iterdir())


def test_sampling_has_a_rule():
    """The tracer wants a rule: a limit alone limits nothing."""
    for value in (
        COMPOSE["services"]["inference-service"]["environment"]["DD_TRACE_SAMPLING_RULES"],
        POD_VARIABLES["DD_TRACE_SAMPLING_RULES"]["value"],
    ):
        assert json.loads(value) == [{"sample_rate": 1.0}]


def test_probes_ask_what_the_library_answers():
    """The three probes have the paths that `Settings` gives, once at startup, every 5 s and every 10 s."""
    base = Settings().health_path
    probes = {name: CONTAINER[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": f"{base}/startup",
        "liveness": f"{base}/live",
        "readiness": f"{base}/ready",
    }
    assert (probes["liveness"]["periodSeconds"], probes["readiness"]["periodSeconds"]) == (5, 10)
    (port,) = CONTAINER["ports"]
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {port["name"]}
    # More than a check may take, so that the answer is ours and not the kubelet's.
    assert min(probe["timeoutSeconds"] for probe in probes.values()) > 0.8
    assert f"http://127.0.0.1:8080{base}/live" in DOCKERFILE


def test_nothing_is_cut_at_the_end():
    """The server waits for longer than a request may take, and the orchestrator for longer than that."""
    timeout = Settings().timeout
    server = number_of("--timeout-graceful-shutdown")
    (word, leaving) = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    assert timeout < server
    assert POD["spec"]["terminationGracePeriodSeconds"] > server + float(leaving)
    assert float(COMPOSE["services"]["inference-service"]["stop_grace_period"].rstrip("s")) > server


def test_ports_meet():
    """The service listens where it is asked, and the Agent where the service sends."""
    assert number_of("--port") == CONTAINER["ports"][0]["containerPort"] == 8080
    assert (
        manifest("Service", "inference-service")["spec"]["ports"][0]["targetPort"]
        == CONTAINER["ports"][0]["name"]
    )
    assert COMPOSE["services"]["inference-service"]["ports"] == ["127.0.0.1:8080:8080"]
    assert COMPOSE["services"]["datadog-agent"]["ports"] == ["127.0.0.1:8126:8126", "127.0.0.1:8125:8125/udp"]
    agent = {(each["containerPort"], each["hostPort"], each["protocol"]) for each in AGENT_CONTAINER["ports"]}
    assert agent == {(8125, 8125, "UDP"), (8126, 8126, "TCP")}
    variables = COMPOSE["services"]["inference-service"]["environment"]
    assert (variables["DD_TRACE_AGENT_URL"], variables["DD_DOGSTATSD_URL"]) == (
        "http://datadog-agent:8126",
        "udp://datadog-agent:8125",
    )
    assert POD_VARIABLES["DD_TRACE_AGENT_URL"]["value"] == "http://$(DD_AGENT_HOST):8126"
    assert POD_VARIABLES["DD_DOGSTATSD_URL"]["value"] == "udp://$(DD_AGENT_HOST):8125"
    names = [each["name"] for each in CONTAINER["env"]]
    assert names.index("DD_AGENT_HOST") < names.index("DD_TRACE_AGENT_URL")  # $(…) names what stands before


def test_unified_tags():
    """Service, environment and version are the labels', of the pod and of its template, and the container's."""
    labels = POD["metadata"]["labels"]
    assert manifest("Deployment", "inference-service")["metadata"]["labels"] == labels
    for name, variable in (("service", "DD_SERVICE"), ("env", "DD_ENV"), ("version", "DD_VERSION")):
        label = f"tags.datadoghq.com/{name}"
        assert labels[label]
        field = POD_VARIABLES[variable]["valueFrom"]["fieldRef"]["fieldPath"]
        assert field == f"metadata.labels['{label}']"
        compose = COMPOSE["services"]["inference-service"]
        assert compose["labels"][f"com.datadoghq.tags.{name}"] == compose["environment"][variable]


@pytest.mark.parametrize(
    "variables",
    [COMPOSE["services"]["datadog-agent"]["environment"], {each["name"] for each in AGENT_CONTAINER["env"]}],
    ids=["compose", "daemonset"],
)
def test_the_agent_takes_what_is_sent(variables):
    """Traces and numbers from other containers, logs of all, and the 99th percentile of histograms."""
    assert set(variables) <= AGENT
    assert AGENT - {"DD_HOSTNAME", "DD_KUBERNETES_KUBELET_HOST"} <= set(variables)


def test_the_agent_asks_whether_the_service_is_up():
    """The check that the monitor of outages reads asks the liveness probe's path."""
    assert HTTP_CAN_CONNECT.name == "network.http.can_connect"  # of the check http_check
    for checks in (
        COMPOSE["services"]["inference-service"]["labels"]["com.datadoghq.ad.checks"],
        POD["metadata"]["annotations"]["ad.datadoghq.com/inference-service.checks"],
    ):
        (instance,) = json.loads(checks)["http_check"]["instances"]
        assert instance["url"] == f"http://%%host%%:8080{Settings().health_path}/live"
    assert "ad.datadoghq.com/inference-service.logs" in POD["metadata"]["annotations"]


def test_resources_are_given():
    """Requests for the scheduler and the autoscaler, a limit of memory, and no limit of CPU that throttles."""
    for container in (CONTAINER, AGENT_CONTAINER):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}
    assert (
        manifest("Deployment", "inference-service")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
        == 0
    )
    assert (
        manifest("HorizontalPodAutoscaler", "inference-service")["spec"]["minReplicas"]
        > (manifest("PodDisruptionBudget", "inference-service")["spec"]["minAvailable"])
    )


def test_names_refer_to_what_is_there():
    """Selectors find the pods, volumes are mounted, bindings name their account."""
    for kind, name in (("Deployment", "inference-service"), ("DaemonSet", "datadog-agent")):
        spec = manifest(kind, name)["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        pod = spec["template"]["spec"]
        mounted = {each["name"] for container in pod["containers"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in pod["volumes"]}
    selected = manifest("Service", "inference-service")["spec"]["selector"]
    assert selected.items() <= POD["metadata"]["labels"].items()
    subject = manifest("ClusterRoleBinding", "datadog-agent")["subjects"][0]
    assert subject["name"] == manifest("ServiceAccount", "datadog-agent")["metadata"]["name"]


def test_secrets_are_not_in_the_files():
    """Keys and passwords come from secrets and from the environment, and a missing one stops the start."""
    for name in ("DATABASE_URL", "TOKEN_SECRET"):
        assert "secretKeyRef" in POD_VARIABLES[name]["valueFrom"]
    agent = {each["name"]: each for each in AGENT_CONTAINER["env"]}
    assert "secretKeyRef" in agent["DD_API_KEY"]["valueFrom"]
    assert COMPOSE["services"]["datadog-agent"]["environment"]["DD_API_KEY"].startswith("${DD_API_KEY:?")
    assert COMPOSE["services"]["inference-service"]["environment"]["TOKEN_SECRET"].startswith(
        "${TOKEN_SECRET:?"
    )


def test_the_seed_runs():
    """What fills the database and the bucket is code that compiles, of functions that are there."""
    *_, source = COMPOSE["services"]["seed"]["command"]
    compile(source, "seed", "exec")
    seed = (ROOT / "examples/inference_service/parts/seed.py").read_text(encoding="utf-8")
    for name in re.findall(r"asyncio\.run\((\w+)\(", source):
        assert f"async def {name}(" in seed
