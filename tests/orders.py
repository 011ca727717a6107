"""Orders for the kill tests, and what must become of them, computed without Syncline.

    orders.py make COUNT SEED        prints COUNT orders, a fifth of them repeats of earlier ones, about 212 bytes each
    orders.py expect                 reads orders on stdin, prints the rows that must come out, sorted

The job: orders that are paid, of 10 or more, the first of each id, as id, customer in lower case, cents, day.
"""

import json
import random
import sys
from decimal import Decimal

STATUSES = ["paid", "paid", "paid", "open", "cancelled"]
# How far back a repeat may lie: near ones meet inside a batch, far ones across many checkpoints.
FAR = 50_000


def make(count, seed):
    dice = random.Random(seed)
    sent = []
    out = []
    for number in range(count):
        if sent and dice.random() < 0.2:
            line = sent[-1 - min(int(dice.expovariate(1 / 2000)), len(sent) - 1, FAR)]
        else:
            line = order(len(sent), dice)
            sent.append(line)
        out.append(line)
        if len(out) == 10_000:
            sys.stdout.write("".join(out))
            out.clear()
    sys.stdout.write("".join(out))


def order(number, dice):
    cents = dice.randrange(100, 30_000)
    second = number % 86_400
    return (
        f'{{"id":"ord-{number:09d}","status":"{dice.choice(STATUSES)}","customer":"Customer-{dice.randrange(5_000):05d}",'
        f'"amount":"{cents // 100}.{cents % 100:02d}","currency":"EUR","created_at":"2026-11-{1 + number % 28:02d}T'
        f'{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z","region":"eu-{dice.randrange(4)}","channel":"web-shop",'
        f'"note":"{dice.getrandbits(96):024x}"}}\n'
    )


def expect(lines):
    seen = set()
    rows = []
    for line in lines:
        order = json.loads(line)
        if order["status"] != "paid" or Decimal(order["amount"]) < 10 or order["id"] in seen:
            continue
        seen.add(order["id"])
        cents = int(Decimal(order["amount"]) * 100)
        rows.append(f'{order["id"]}|{order["customer"].lower()}|{cents}|{order["created_at"][:10]}\n')
    rows.sort()
    sys.stdout.writelines(rows)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(int(sys.argv[2]), int(sys.argv[3]))
    else:
        expect(sys.stdin)
