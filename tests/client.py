"""The quick start over HTTP, as a program runs it that has only the client which was made of /openapi.json (the package `made`).

Usage: client.py URL, with a token in TOKEN and openapi.json in this folder.
"""

import importlib
import io
import json
import os
import re
import sys
import time
import typing

from made import AuthenticatedClient
from made.api.connections import list_connections
from made.api.pipelines import (
    delete_pipeline,
    get_pipeline,
    get_pipeline_metrics,
    get_text,
    list_pipelines,
    list_revisions,
    pause_pipeline,
    put_pipeline,
    resume_pipeline,
)
from made.api.queries import ask
from made.api.records import send_records
from made.models import Answer, Connection, Pipeline, PipelineText, Problem, Question, Revisions
from made.types import File

TEXT = """PIPELINE orders AS
FROM http('/orders')
|> DEDUP BY id WITHIN '1 hour'
|> SELECT CAST(id AS BIGINT) AS id, CAST(total AS DECIMAL(12, 2)) AS total
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
"""
WITHIN = 60


def until(what, so):
    end = time.monotonic() + WITHIN
    while not (found := so()):
        assert time.monotonic() < end, f"not so in time: {what}"
        time.sleep(0.05)
    return found


def every_operation_is_there_with_its_types():
    document = json.load(open("openapi.json"))
    checked = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = re.sub("(?<!^)(?=[A-Z])", "_", operation["operationId"]).lower()
            tag = operation["tags"][0].replace(" ", "_")
            module = importlib.import_module(f"made.api.{tag}.{name}")
            for status, response in operation["responses"].items():
                shape = response.get("content", {}).get("application/json", {}).get("schema", {})
                if status[0] != "2" or "$ref" not in shape:
                    continue
                wanted = shape["$ref"].rsplit("/", 1)[1].replace("_", "")
                types = [known.__name__ for known in typing.get_args(typing.get_type_hints(module.sync)["return"])]
                assert wanted in types, f"{method} {path} answers {types}, and not {wanted}"
                checked += 1
    assert checked > 30, checked
    inline = [name for name in os.listdir("made/models") if "items_item" in name]
    assert not inline, f"types that have two names: {inline}"


def main():
    client = AuthenticatedClient(base_url=sys.argv[1], token=os.environ["TOKEN"], raise_on_unexpected_status=True)

    def of(call, *where, **what):
        answer = call.sync(*where, client=client, **what)
        assert not isinstance(answer, Problem), answer
        return answer

    def rows(sql):
        answer = of(ask, body=Question(sql=sql))
        assert isinstance(answer, Answer) and not answer.truncated, answer
        return answer.rows

    put = of(put_pipeline, "orders", body=PipelineText(text=TEXT), if_none_match="*")
    assert isinstance(put, Pipeline) and put.pipeline == "orders", put
    until("it runs", lambda: of(get_pipeline, "orders").state == "running")
    assert [one.pipeline for one in of(list_pipelines).items if isinstance(one, Pipeline)] == ["orders"]

    orders = [{"id": 1, "total": "9.50"}, {"id": 1, "total": "9.50"}, {"id": 2, "total": "ten"}]
    taken = of(send_records, "orders", body=orders)
    assert taken.accepted == 3, taken
    fates = "SELECT passed, duplicate, dead FROM steps WHERE pipeline = 'orders' AND step IN ('dedup', 'select') ORDER BY step"
    until("they are through", lambda: rows(fates) == [[2, 1, 0], [1, 0, 1]])
    status = of(get_pipeline, "orders")
    assert status.rows_in == 3 and status.balanced and {step.step for step in status.steps} >= {"dedup", "select"}, status
    metrics = {metric.name: metric.value for metric in of(get_pipeline_metrics, "orders").metrics}
    assert metrics["syncline_books_balanced"] == 1, metrics

    assert of(pause_pipeline, "orders").state == "paused"
    assert of(get_pipeline, "orders").state == "paused"
    assert of(resume_pipeline, "orders").state in ("starting", "running")
    until("it runs again", lambda: of(get_pipeline, "orders").state == "running")

    # The text that is there, with its tag, changed by somebody who has seen it, and by somebody who has not.
    seen = get_text.sync_detailed("orders", client=client)
    tag = seen.headers["etag"]
    assert seen.content.decode() == TEXT
    other = TEXT.replace("|> SELECT", "|> WHERE total IS NOT NULL\n|> SELECT")
    of(put_pipeline, "orders", body=File(payload=io.BytesIO(other.encode())), if_match=tag)
    stale = put_pipeline.sync("orders", client=client, body=PipelineText(text=TEXT), if_match=tag)
    assert isinstance(stale, Problem) and stale.status == 412 and stale.request_id, stale
    revisions = until("it has begun", lambda: [one for one in [of(list_revisions, "orders")] if len(one.revisions) == 2])[0]
    assert isinstance(revisions, Revisions) and [one.text for one in revisions.revisions] == [TEXT, other], revisions

    bus = of(list_connections).items
    assert [(type(one), one.name, one.kind) for one in bus] == [(Connection, "bus", "kafka")], bus
    assert bus[0].options.to_dict() == {"brokers": "127.0.0.1:9", "password": {"secret": "bus/pw"}}, bus

    gone = delete_pipeline.sync_detailed("orders", client=client)
    assert gone.status_code == 204, gone
    missing = get_text.sync("orders", client=client)
    assert isinstance(missing, Problem) and missing.type_ == "urn:syncline:no-such-pipeline", missing


every_operation_is_there_with_its_types()
main()
