"""The user joe, whom the Secret `users` of the namespace `default` lets in."""

from __future__ import annotations

import base64

import bcrypt

_HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS_SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"namespace": "default", "name": "users"},
    "data": {"auth": base64.b64encode(f"joe:{_HASH}".encode()).decode()},
}
JOE = "Authorization: Basic " + base64.b64encode(b"joe:secret").decode()
