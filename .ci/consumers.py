#!/usr/bin/env python3
"""Reads the samples that tests/it wrote with programs of others: CloudEvents' SDK, a validator of the OCSF schema, and the libraries of Standard Webhooks and JWT.

    .ci/consumers FOLDER

OCSF_SCHEMA may name a compiled schema that has the class User Management (OCSF 1.9 on). Without it the events are held to that of 1.8: there Account Change is what became
User Management, with the same members but for the numbers of the class and of its activities.
"""

import json
import os
import pathlib
import sys

import jsonschema
import jwt
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from standardwebhooks import Webhook

FOLDER = pathlib.Path(sys.argv[1])
USER_MANAGEMENT, ACCOUNT_CHANGE = 3007, 3001
# User Management has Update for what Account Change lacked.
ACTIVITIES = {9: 4, 2: 99}


def lines(name):
    found = [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]
    assert found, name
    return found


def cloudevents(name):
    for line in lines(name):
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, json.dumps(line).encode())
        event = from_http_event(message)
        assert event.get_specversion() == "1.0" and event.get_source() == "/reset-gatekeeper"
        record = event.get_data()
        assert (event.get_id(), event.get_type()) == (record["id"], "reset-gatekeeper." + record["event"])
        assert record["hash"] and event.get_time().year == 2026


def as_of_1_8(event):
    if event["class_uid"] == USER_MANAGEMENT:
        activity = ACTIVITIES[event["activity_id"]]
        event |= {"class_uid": ACCOUNT_CHANGE, "activity_id": activity, "type_uid": ACCOUNT_CHANGE * 100 + activity}
    event["metadata"]["version"] = "1.8.0"
    return event


def ocsf(name):
    published = os.environ.get("OCSF_SCHEMA")
    schema = json.loads(pathlib.Path(published).read_text()) if published else get_ocsf_schema(version="1.8.0")
    schemas = OcsfJsonSchemaEmbedded(schema)
    validators = {}
    for event in lines(name):
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["metadata"]["version"] == "1.9.0" and list(event)[-1] == "unmapped"
        if not published:
            event = as_of_1_8(event)
        uid = event["class_uid"]
        if uid not in validators:
            of_class = schemas.get_class_schema(schemas.lookup_class_name_from_uid(uid), event["metadata"]["profiles"])
            validators[uid] = jsonschema.Draft202012Validator(of_class, format_checker=jsonschema.FormatChecker())
        errors = [f"{list(error.path)}: {error.message[:300]}" for error in validators[uid].iter_errors(event)]
        assert not errors, (event, errors)
    # It does refuse what is wrong.
    for member in ["time", "metadata", "user", "severity_id"]:
        assert not validators[USER_MANAGEMENT if published else ACCOUNT_CHANGE].is_valid({k: v for k, v in spoiled(name, published).items() if k != member}), member


def spoiled(name, published):
    event = next(event for event in lines(name) if "user" in event)
    return event if published else as_of_1_8(event)


def webhook(body, key, headers):
    record = Webhook(key).verify(body, headers)
    assert record["id"] == headers["webhook-id"]
    try:
        Webhook(key).verify(body.replace("block", "allow"), headers)
    except Exception:
        return
    raise AssertionError("it takes what was changed on its way")


def risc(body, key, headers):
    claims = jwt.decode(body, key, ["ES256", "EdDSA"], audience="https://receiver.example", issuer="https://example.com", options={"require": ["iss", "aud", "iat", "jti"]})
    assert jwt.get_unverified_header(body)["typ"] == "secevent+jwt" and headers["content-type"] == "application/secevent+jwt"
    (event,) = claims["events"]
    assert event.startswith("https://schemas.openid.net/secevent/risc/event-type/")
    assert claims["sub_id"] == {"format": "email", "email": "a@example.com"}


READERS = {"cloudevents": cloudevents, "ocsf": ocsf}
for sample in sorted(FOLDER.glob("*.jsonl")):
    if reader := READERS.get(sample.stem.removesuffix("-hashed")):
        reader(sample.name)
    else:
        for one in lines(sample.name):
            {"webhook": webhook, "risc": risc}[one["kind"]](one["body"], one["key"], one["headers"])
    print(sample.stem, "is read")
