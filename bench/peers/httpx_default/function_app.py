"""The job on httpx with its own transport, one client for all invocations."""

import json
import logging
import os

import azure.functions as func
import httpx
from azure.identity.aio import ManagedIdentityCredential

app = func.FunctionApp()
client = httpx.AsyncClient(base_url=os.environ["FACE_ENDPOINT"])
# Keeps the token in memory: `get_token` asks the platform only when it is about to expire.
credential = ManagedIdentityCredential()


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%SESSION_REVOKED_QUEUE%", connection="ServiceBusConnection"
)
async def delete_session(message: func.ServiceBusMessage) -> None:
    session_id = json.loads(message.get_body().decode())["sessionId"]
    token = await credential.get_token("https://cognitiveservices.azure.com/.default")
    response = await client.delete(
        f"/face/v1.2-preview.1/detectLivenessWithVerify/singleModal/sessions/{session_id}",
        headers={"Authorization": f"Bearer {token.token}"},
    )
    response.raise_for_status()
    logging.info("Deleted session %s", session_id)
