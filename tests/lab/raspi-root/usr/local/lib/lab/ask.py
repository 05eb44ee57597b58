"""ask.py TOKEN METHOD PATH [BODY]: one request to piapi, that has to succeed."""

import http.client
import secrets
import sys


def ask(token: str, method: str, path: str, body: str | None = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers["Idempotency-Key"] = secrets.token_hex(8)
    connection.request(method, f"/api/v1/{path}", body, headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {said}")
    return said


if __name__ == "__main__":
    sys.stdout.write(ask(*sys.argv[1:]))
