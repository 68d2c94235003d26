"""/docs: the API to read and to try, in Swagger UI. All of it comes from here, and the browser is told to fetch nothing
from anywhere else.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from starlette.responses import Response

PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>PropMubi</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
# A file of its own, since the page may run no script that stands in it. Without a validator, which would be told of us.
START: Final = """\
SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});
"""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {"content-security-policy": POLICY, "cache-control": "max-age=3600"}


def pages() -> Mapping[str, Response]:
    """What is answered at each path."""
    script, style = (
        (files("fastapi_offline") / "static" / name).read_bytes()
        for name in ("swagger-ui-bundle.js", "swagger-ui.css")
    )
    return {
        "/docs": Response(PAGE, media_type="text/html", headers=HEADERS),
        "/docs/start.js": Response(START, media_type="text/javascript", headers=HEADERS),
        "/docs/swagger-ui-bundle.js": Response(
            script, media_type="text/javascript", headers=HEADERS
        ),
        "/docs/swagger-ui.css": Response(style, media_type="text/css", headers=HEADERS),
    }
