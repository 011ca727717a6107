"""Senders of webhooks, and people who pretend to be: signatures by Python's own hmac, sharing nothing with Syncline.

    webhooks.py sign                       reads lines {"scheme", "secret", "id", "time", "body"} and prints each one's headers
    webhooks.py post FOLDER URL SECRET SEED [CONNECTIONS]

`post` sends every delivery of FOLDER (index.tsv: number, id, event; NUMBER.json: the body) twice, as GitHub would, in random
order, and beside each its forgeries. Whatever is not answered is sent again. A genuine one is done when it is answered 2xx, a
forgery when it is answered 401; anything else ends this program with 1. Prints what was answered, as JSON.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import sys
import threading
import time
from urllib.parse import urlsplit

MARK = "forged-7f3a91"  # stands in every forged body that is not a genuine one, so that a stored one can be found
PAUSE = 0.03  # between a failure and the next try; the server is being restarted
GIVE_UP = 120  # seconds without any answer


def digest(key, signed):
    return hmac.new(key, signed, hashlib.sha256).digest()


def headers(scheme, secret, body, id="", time=""):
    key = secret.encode()
    if scheme == "github":
        return {"X-Hub-Signature-256": "sha256=" + digest(key, body).hex(), "X-GitHub-Delivery": id}
    if scheme == "slack":
        signed = b"v0:" + time.encode() + b":" + body
        return {"X-Slack-Signature": "v0=" + digest(key, signed).hex(), "X-Slack-Request-Timestamp": time}
    if scheme == "standard_webhooks":
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{id}.{time}.".encode() + body
        tag = base64.b64encode(digest(key, signed)).decode()
        return {"Webhook-Id": id, "Webhook-Timestamp": time, "Webhook-Signature": "v1," + tag}
    if scheme == "hmac_sha256":
        return {"X-Signature": base64.b64encode(digest(key, body)).decode(), "X-Id": id}
    raise SystemExit(f"no scheme {scheme}")


def forgeries(secret, id, body):
    """Each mutation of one delivery: name, headers, body. Ids are fresh where the genuine one could be known already."""
    good = headers("github", secret, body, id)
    signature = good["X-Hub-Signature-256"]
    marked = body[:-1] + f', "mark": "{MARK}"}}'.encode()
    now = str(int(time.time()))
    fresh = lambda: {"X-GitHub-Delivery": f"{MARK}-{random.getrandbits(64):x}"}
    yield "body +1 byte", {**good, **fresh()}, body + b" "
    yield "another body", {**good, **fresh()}, marked
    yield "re-serialised", {**good, **fresh()}, json.dumps(json.loads(body), indent=1).encode()
    yield "prefix missing", {**fresh(), "X-Hub-Signature-256": signature[7:]}, body
    yield "wrong secret", {**headers("github", secret + "x", marked), **fresh()}, marked
    yield "no secret", {**headers("github", "", marked), **fresh()}, marked
    yield "truncated", {**fresh(), "X-Hub-Signature-256": signature[:-2]}, body
    yield "empty", {**fresh(), "X-Hub-Signature-256": ""}, body
    yield "unsigned", fresh(), marked
    yield "old signature", {**fresh(), "X-Hub-Signature": "sha1=" + hmac.new(secret.encode(), body, "sha1").hexdigest()}, body
    yield "two headers", [*good.items(), ("X-Hub-Signature-256", "sha256=" + "0" * 64)], body
    yield "another provider", {**headers("slack", secret, body, time=now), **fresh()}, body


class Post:
    def __init__(self, folder, url, secret, seed):
        self.url = urlsplit(url)
        self.dice = random.Random(int(seed))
        random.seed(int(seed))
        self.lock = threading.Lock()
        self.answers = {"accepted": 0, "duplicate": 0, "refused": 0, "retries": 0}
        self.wrong = []
        self.last = time.monotonic()
        genuine, forged = [], []
        folder = pathlib.Path(folder)
        for line in (folder / "index.tsv").read_text().splitlines():
            number, id, event = line.split("\t")
            body = (folder / f"{number}.json").read_bytes()
            common = {"Content-Type": "application/json", "X-GitHub-Event": event, "User-Agent": "GitHub-Hookshot/test"}
            one = {**common, **headers("github", secret, body, id)}
            genuine += [("genuine", one, body)] * 2
            forged += [(name, with_common(common, some), bytes) for name, some, bytes in forgeries(secret, id, body)]
        self.queue = genuine + forged
        self.dice.shuffle(self.queue)
        # The id of a delivery that is known, beside another that is genuine too: both were seen on their way.
        # The same payload may have been sent under several ids.
        known = [(one["X-GitHub-Delivery"], body) for _, one, body in genuine]
        other = lambda body: next(id for id, its in self.dice.sample(known, len(known)) if its != body)
        self.replays = [
            ("replayed id", {**one, "X-GitHub-Delivery": other(body)}, body)
            for _, one, body in self.dice.sample(genuine, min(40, len(genuine)))
        ]

    def next(self):
        with self.lock:
            return self.queue.pop() if self.queue else None

    def work(self):
        connection = None
        while (post := self.next()) is not None:
            name, some, body = post
            while True:
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=30)
                    status = send(connection, self.url.path, some, body)
                    if status not in (429, 503):
                        break
                except (OSError, http.client.HTTPException):
                    connection = None
                with self.lock:
                    self.answers["retries"] += 1
                    if time.monotonic() - self.last > GIVE_UP:
                        print("nothing was answered for too long", file=sys.stderr)
                        os._exit(1)
                time.sleep(PAUSE)
            with self.lock:
                self.last = time.monotonic()
                word = {202: "accepted", 200: "duplicate", 401: "refused"}.get(status)
                expected = ("accepted", "duplicate") if name == "genuine" else ("refused",)
                if word not in expected:
                    self.wrong.append(f"{name}: {status}")
                if word:
                    self.answers[word] += 1

    def run(self, connections):
        for queue in (self.queue, self.replays):
            self.queue = queue
            workers = [threading.Thread(target=self.work) for _ in range(connections)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        print(json.dumps(self.answers))
        if self.wrong:
            print(sorted(set(self.wrong)), file=sys.stderr)
            sys.exit(1)


def with_common(common, some):
    return [*common.items(), *(some.items() if isinstance(some, dict) else some)]


def send(connection, path, some, body):
    connection.putrequest("POST", path)
    for name, value in some.items() if isinstance(some, dict) else some:
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def main(what, *rest):
    if what == "sign":
        for line in sys.stdin:
            asked = json.loads(line)
            some = headers(asked["scheme"], asked["secret"], asked["body"].encode(), asked.get("id", ""), asked.get("time", ""))
            print(json.dumps(some))
    else:
        folder, url, secret, seed, *connections = rest
        Post(folder, url, secret, seed).run(int(connections[0]) if connections else 4)


if __name__ == "__main__":
    main(*sys.argv[1:])
