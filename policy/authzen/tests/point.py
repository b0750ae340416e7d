"""A decision point as somebody else would write one: AuthZEN 1.0 over HTTP, the rules written a second time.

    point.py    prints the port it listens on; a line on standard output for each evaluation
"""
import http.server
import json

NO = {"refused", "withdrawn", "revoked", "invalidated", "expired", "unknown", "requested", "deferred", "objected"}


def is_below(purpose, whole):
    return purpose == whole or purpose.startswith(whole + ".")


def decide(asked):
    job, action, data, context = (asked[name] for name in ("subject", "action", "resource", "context"))
    assert job["type"] == "activity" and data["type"] == "compartment"
    about, kept, now = job["properties"], data["properties"], context["time"]
    action, consent = action["name"], context["consent"]
    if consent is not None and consent["activity"] != job["id"]:
        consent = None
    if kept["state"] not in ("active", "restricted") or about["state"] != "approved":
        return False
    if action != "export" and (kept["state"] == "restricted" or not context["application_active"]):
        return False
    if action == "export" and not about["own"] or action == "write" and not about["writes"]:
        return False
    if not context["device_certified"] or kept["class"] not in about["classes"]:
        return False
    if about["expires"] is not None and now >= about["expires"]:
        return False
    if not is_below(context["purpose"], about["purpose"]):
        return False
    if about["basis"] == "consent" and not about["own"]:
        if consent is None or consent["status"] in NO or kept["class"] not in consent["classes"]:
            return False
        if consent["until"] is not None and now >= consent["until"]:
            return False
        return consent["explicit"] or not kept["special"]
    if about["basis"] == "legitimate-interest" and consent is not None and consent["status"] == "objected":
        return False
    return about["own"] or not kept["special"]


class Point(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/access/v1/evaluation"
        body = json.dumps({"decision": decide(asked), "context": {"reason": "as the rules say"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # Before whoever asked can go on, and end this process.
        print("asked", flush=True)
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Point)
print(server.server_address[1], flush=True)
server.serve_forever()
