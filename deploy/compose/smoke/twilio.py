"""Stands in for Twilio's Messages API: every message is a JSON line {to, body, at} on standard output."""

import json
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Messages(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        sent = {"to": form["To"][0], "body": form["Body"][0], "at": datetime.now(UTC).isoformat()}
        sys.stdout.write(json.dumps(sent) + "\n")
        sys.stdout.flush()
        answer = json.dumps({"sid": "SM0", "status": "queued", **sent}).encode()
        self.send_response(HTTPStatus.CREATED)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Standard output is for messages alone."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Messages).serve_forever()
