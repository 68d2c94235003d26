"""/docs: all that a browser is told to fetch comes from the gateway itself."""

import re

from gateway.tests.conftest import Running

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


async def test_the_docs_name_no_other_host(gateway: Running) -> None:
    page = await gateway.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(parts) == 3
    for path in parts:
        assert path.startswith("/docs/")
        part = await gateway.client.get(path)
        assert part.status_code == 200
        assert part.headers["content-type"] == TYPES[path[path.rindex(".") :]]
    start = (await gateway.client.get(parts[-1])).text
    assert 'url: "/openapi.json"' in start
    assert "//" not in page.text + start


async def test_a_browser_may_fetch_nothing_from_elsewhere_for_the_docs(gateway: Running) -> None:
    for path in ("/docs", "/docs/start.js"):
        policy = (await gateway.client.get(path)).headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules.pop("img-src") == "'self' data:"
        assert rules["default-src"] == "'none'"
        assert set(rules.values()) == {"'none'", "'self'"}


async def test_there_is_nothing_else_below_the_docs(gateway: Running) -> None:
    for path in ("/docs/", "/docs/redoc.standalone.js", "/docs/../settings.py"):
        assert (await gateway.client.get(path)).status_code == 404
