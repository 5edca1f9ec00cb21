"""The job on Microsoft's client for the Face API, as its documentation shows it."""

import json
import logging
import os

import azure.functions as func
from azure.ai.vision.face.aio import FaceSessionClient
from azure.identity.aio import ManagedIdentityCredential

app = func.FunctionApp()
# Made once and used again by every invocation, as the Functions guide says; it holds the token.
client = FaceSessionClient(os.environ["FACE_ENDPOINT"], ManagedIdentityCredential())


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%SESSION_REVOKED_QUEUE%", connection="ServiceBusConnection"
)
async def delete_session(message: func.ServiceBusMessage) -> None:
    session_id = json.loads(message.get_body().decode())["sessionId"]
    # The SDK's own option for a test without TLS: it would send no token over http.
    await client.delete_liveness_with_verify_session(session_id, enforce_https=False)
    logging.info("Deleted session %s", session_id)
