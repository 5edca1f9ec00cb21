"""A plain Service Bus queue trigger, in the shape of the official quickstart: it logs, no more."""

import logging

import azure.functions as func

app = func.FunctionApp()


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%SESSION_REVOKED_QUEUE%", connection="ServiceBusConnection"
)
def delete_session(message: func.ServiceBusMessage) -> None:
    logging.info("Processed message %s", message.message_id)
