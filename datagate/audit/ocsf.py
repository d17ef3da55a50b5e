"""Events as OCSF's Datastore Activity (class 6005, category 6, schema 1.5), one object for each statement.

==============================  ==========================================================================
OCSF                            here
==============================  ==========================================================================
time, duration                  the decision's instant, and how long the statement took, in milliseconds
activity_id                     4 Query, 2 Update, 6 Create, 7 Delete
action_id, status_id            1 Allowed, 2 Denied; 1 Success, 2 Failure, 0 not known yet
status_code, status_detail      SQLSTATE of the error; the reason of a refusal
actor.user, actor.session.uid   the actor (who is really connected); the mandate
actor.invoked_by                the principal, where another acts for them
src_endpoint                    client address, or the frontend's name
table.name, database.name       relations; ``datagate``
query_info.uid, .datastore_query  fingerprint; text without literals, where it is kept
policy.uid, .version            rules in play; the policies' version
metadata.uid, .sequence         the entry's id and its number in the chain
unmapped                        purpose, consent epoch, columns, actor chain, data subjects returned, rows
==============================  ==========================================================================
"""

from __future__ import annotations

from typing import Any

from datagate.audit.reading import Event

CLASS = 6005
QUERY = 4
_ACTIVITIES = (("delete", 7), ("update", 2), ("insert", 6))
VERSION = "1.5.0"
_USER_TYPES = {"person": 1, "service": 3, "agent": 99}


def ocsf(event: Event) -> dict[str, Any]:
    """One event in OCSF's words."""
    statement, result = event.statement, event.result
    permitted = statement["outcome"] == "permitted"
    failed = not permitted or result.get("error") is not None
    kind = statement["actor_kind"]
    activity = next((number for name, number in _ACTIVITIES if name in statement["actions"]), QUERY)
    found: dict[str, Any] = {
        "category_uid": 6,
        "class_uid": CLASS,
        "activity_id": activity,
        "type_uid": CLASS * 100 + activity,
        "severity_id": 1 if permitted else 3,
        "time": int(event.time.timestamp() * 1000),
        "action_id": 1 if permitted else 2,
        "status_id": 2 if failed else 1 if result else 0,
        "actor": {
            "user": {"uid": statement["actor"], "name": statement["actor"], "type_id": _USER_TYPES.get(kind, 0)},
        },
        "src_endpoint": {"ip": statement["client"]} if statement["client"] else {"name": statement["frontend"]},
        "database": {"name": "datagate", "type_id": 1},
        "query_info": {"uid": statement["fingerprint"] or "", "query_time": int(event.time.timestamp() * 1000)},
        "policy": {"uid": "; ".join(statement["rules"]), "version": statement["policy_version"]},
        "metadata": {
            "version": VERSION,
            "product": {"name": "datagate", "vendor_name": "datagate"},
            "uid": event.decision["id"],
            "sequence": event.decision["chain"]["seq"],
        },
        "unmapped": {name: statement[name] for name in ("purpose", "epoch", "columns", "actor_chain")}
        | {"principal": statement["principal"], "rows": result.get("rows")}
        | {"data_subjects": result.get("data_subjects", {})},
    }
    if statement["mandate"]:
        found["actor"]["session"] = {"uid": statement["mandate"]}
    if statement["actor"] != statement["principal"]:
        found["actor"]["invoked_by"] = statement["principal"]
    if statement["relations"]:
        found["table"] = {"name": ", ".join(statement["relations"])}
    if "text" in statement:
        found["query_info"]["datastore_query"] = statement["text"]
    if result:
        found["duration"] = result["microseconds"] // 1000
    if result.get("error"):
        found["status_code"] = result["error"]
    if statement["reason"]:
        found["status_detail"] = statement["reason"]
    return found
