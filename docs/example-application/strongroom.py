"""The agent's API over its Unix socket, with the standard library alone."""

import http.client
import json
import socket
import urllib.parse


class Refused(Exception):
    """The agent refused; `kind` says what to do about it."""

    def __init__(self, status, error):
        super().__init__(error["message"])
        self.status, self.kind = status, error["kind"]


class Agent:
    """One application of an agent, asked with one token."""

    def __init__(self, path, token, app):
        self.token, self.app = token, app
        self.connection = http.client.HTTPConnection("localhost")
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.connect(path)

    def ask(self, method, *place, body=None, key=None, query=""):
        """Asks and returns the answer: what was in JSON as objects, anything else as bytes."""
        parts = "/".join(urllib.parse.quote(part, safe="") for part in ("v1", "apps", self.app, *place))
        headers = {"Authorization": f"Bearer {self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.connection.request(method, "/" + parts + query, body=body or b"", headers=headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.headers["Content-Type"] == "application/json":
            content = json.loads(content)
        if answer.status >= 400:
            raise Refused(answer.status, content["error"])
        return content
