"""What lets people in gives every call the time and the room that the contract does."""

import kubernetes_validate

from deploy.k8s.tests.conftest import Render, Rendered
from deploy.k8s.tests.test_manifests import VERSIONS
from gateway.contract import load_contract
from gateway.exchange import ANSWER_SECONDS
from gateway.files import DOWNLOAD_SECONDS

FILES = [one for one in load_contract().operations if one.upload or one.download]
LONGEST = max(DOWNLOAD_SECONDS, *(one.upload.max_seconds for one in FILES if one.upload))


def test_files_have_all_the_time_that_the_contract_gives_them_and_other_calls_theirs(
    rendered: Rendered,
) -> None:
    (route,) = rendered.of("HTTPRoute")
    files, rest = route["spec"]["rules"]
    matched = {(match["path"]["type"], match["path"]["value"]) for match in files["matches"]}
    assert matched == {way_to(one.path) for one in FILES}
    assert LONGEST < seconds(files["timeouts"]["request"]) <= LONGEST + 10
    assert rest["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert ANSWER_SECONDS < seconds(rest["timeouts"]["request"]) <= ANSWER_SECONDS + 10


def test_an_ingress_lets_files_through_as_they_come_and_leaves_their_size_to_the_gateway(
    render: Render,
) -> None:
    rendered = render({"resources": ["base"], "components": ["components/ingress"]})
    (ingress,) = rendered.of("Ingress")
    told = {
        name.removeprefix("nginx.ingress.kubernetes.io/"): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    assert (told["proxy-body-size"], told["proxy-request-buffering"]) == ("0", "off")
    for timeout in ("proxy-read-timeout", "proxy-send-timeout"):
        assert int(told[timeout]) > LONGEST


def way_to(path: str) -> tuple[str, str]:
    """How a route finds a path of the contract: by all of it, or by what is before its first parameter."""
    fixed, parameter, _ = path.partition("/{")
    return ("PathPrefix", fixed) if parameter else ("Exact", path)


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def test_an_ingress_serves_where_there_is_no_gateway_api(render: Render) -> None:
    rendered = render({"resources": ["base"], "components": ["components/ingress"]})
    (ingress,) = rendered.of("Ingress")
    for version in VERSIONS:
        kubernetes_validate.validate(ingress, version, strict=True)
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    ports = rendered.one("Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in {port["name"] for port in ports}
    (namespace,) = rendered.names("Namespace")
    secret = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-ssl-secret"]
    certificate = rendered.one("Certificate", "gateway")["spec"]["secretName"]
    assert secret == f"{namespace}/{certificate}"
