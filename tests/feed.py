"""A producer over HTTP that sends again whatever was not acknowledged.

    feed.py FILE URL [LINES [CONNECTIONS]]

Sends the lines of FILE in bodies of LINES (500) over CONNECTIONS (4) kept connections. A body counts as sent only when 202 comes
back; on anything else (refused, cut off, 429, 503) it is sent again after a moment. Prints `acknowledged N lines, M retries`.
"""

import http.client
import os
import sys
import threading
import time
from urllib.parse import urlsplit

PAUSE = 0.05  # between a failure and the next try; the server is being restarted
GIVE_UP = 300  # seconds without any acknowledgement


class Feed:
    def __init__(self, path, url, lines):
        self.url = urlsplit(url)
        self.bodies = self.read(path, lines)
        self.lock = threading.Lock()
        self.acknowledged = 0
        self.retries = 0
        self.last = time.monotonic()

    @staticmethod
    def read(path, lines):
        with open(path, "rb") as file:
            body = []
            for line in file:
                body.append(line)
                if len(body) == lines:
                    yield body
                    body = []
            if body:
                yield body

    def next(self):
        with self.lock:
            return next(self.bodies, None)

    def work(self):
        connection = None
        while (body := self.next()) is not None:
            payload = b"".join(body)
            while True:
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=30)
                    connection.request("POST", self.url.path, payload, {"Content-Type": "application/x-ndjson"})
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 202:
                        break
                except (OSError, http.client.HTTPException):
                    connection = None
                with self.lock:
                    self.retries += 1
                    if time.monotonic() - self.last > GIVE_UP:
                        # Not sys.exit: in a thread that ends only the thread.
                        print("nothing was acknowledged for too long", file=sys.stderr)
                        os._exit(1)
                time.sleep(PAUSE)
            with self.lock:
                self.acknowledged += len(body)
                self.last = time.monotonic()


def main(path, url, lines="500", connections="4"):
    feed = Feed(path, url, int(lines))
    workers = [threading.Thread(target=feed.work) for _ in range(int(connections))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"acknowledged {feed.acknowledged} lines, {feed.retries} retries")


if __name__ == "__main__":
    main(*sys.argv[1:])
