"""The job on requests, in a synchronous function that the worker runs on its thread pool."""

import json
import logging
import os

import azure.functions as func
import requests
from azure.identity import ManagedIdentityCredential

app = func.FunctionApp()
session = requests.Session()
# Keeps the token in memory: `get_token` asks the platform only when it is about to expire.
credential = ManagedIdentityCredential()
ENDPOINT = os.environ["FACE_ENDPOINT"]


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%SESSION_REVOKED_QUEUE%", connection="ServiceBusConnection"
)
def delete_session(message: func.ServiceBusMessage) -> None:
    session_id = json.loads(message.get_body().decode())["sessionId"]
    token = credential.get_token("https://cognitiveservices.azure.com/.default")
    response = session.delete(
        f"{ENDPOINT}/face/v1.2-preview.1/detectLivenessWithVerify/singleModal/sessions/{session_id}",
        headers={"Authorization": f"Bearer {token.token}"},
        timeout=10,
    )
    response.raise_for_status()
    logging.info("Deleted session %s", session_id)
