"""An asynchronous function that does nothing: what the runtime itself takes for a message."""

import azure.functions as func

app = func.FunctionApp()


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%SESSION_REVOKED_QUEUE%", connection="ServiceBusConnection"
)
async def delete_session(message: func.ServiceBusMessage) -> None:
    pass
