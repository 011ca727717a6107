"""Deliveries per hour, team and event, from what was sent and from nothing of Syncline but the instants at which it took each.

    webhooks_counts.py FOLDER      with sent/index.tsv, sent/NUMBER.json, repositories.csv, seen/*.ndjson
"""

import csv
import json
import pathlib
import sys
from collections import defaultdict

folder = pathlib.Path(sys.argv[1])
teams = {row["full_name"]: row["team"] for row in csv.DictReader((folder / "repositories.csv").open())}
hours = {}
for part in (folder / "seen").glob("*.ndjson"):
    for line in part.read_text().splitlines():
        row = json.loads(line)
        assert row["delivery"] not in hours, f"{row['delivery']} was taken twice"
        hours[row["delivery"]] = row["at"][:13]

groups = defaultdict(list)
for line in (folder / "sent/index.tsv").read_text().splitlines():
    number, id, event = line.split("\t")
    repository = json.loads((folder / f"sent/{number}.json").read_bytes()).get("repository") or {}
    team = teams.get(repository.get("full_name"))
    hour = hours.pop(id)
    if team:
        groups[hour, team, event].append(id)
assert not hours, f"taken and never sent: {sorted(hours)[:3]}"
for (hour, team, event), ids in sorted(groups.items()):
    print(f"{hour}:00:00Z", team, event, len(ids), len(set(ids)), min(ids), sep="\t")
