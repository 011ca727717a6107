"""What must become of posted GitHub webhooks, computed without Syncline.

    oracle_github.py FOLDER      FOLDER/index.tsv: number, delivery, event in the order of posting; FOLDER/NUMBER.json: the bodies

Prints every row of every arm and every dead letter, sorted: `table|columns…`, `dead|arm|delivery`.
"""

import json
import pathlib
import re
import sys

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def shown(value):
    if value is None:
        return "NULL"
    return value if isinstance(value, str) else json.dumps(value)


def main(folder):
    folder = pathlib.Path(folder)
    seen = set()
    lines = set()
    repositories, senders = {}, {}
    for entry in (folder / "index.tsv").read_text().splitlines():
        number, delivery, event = entry.split("\t")
        if delivery in seen:
            continue
        seen.add(delivery)
        body = json.loads((folder / f"{number}.json").read_text())
        lines.add(f"deliveries|{delivery}|{event}|{shown(body.get('action'))}")
        repository = body.get("repository")
        if repository is not None:
            created = repository.get("created_at")
            if created is None or isinstance(created, str) and INSTANT.fullmatch(created):
                repositories[repository["id"]] = f"{repository['id']}|{shown(repository.get('full_name'))}|{shown(created)}|{delivery}"
            else:
                lines.add(f"dead|repositories|{delivery}")  # a push sends seconds since 1970
        sender = body.get("sender")
        if sender is not None and sender.get("id") is not None:
            senders[sender["id"]] = f"{sender['id']}|{shown(sender.get('login'))}|{event}"
        else:
            lines.add(f"dead|senders|{delivery}")  # an upsert needs its key
    lines.update(f"repositories|{row}" for row in repositories.values())
    lines.update(f"senders|{row}" for row in senders.values())
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main(sys.argv[1])
