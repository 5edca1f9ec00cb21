"""The app that the Functions host loads."""

import azure.functions as func

from delete_session.app import create_blueprint
from delete_session.settings import Settings
from delete_session.telemetry import prepare_worker

prepare_worker()
app = func.FunctionApp()
app._require_auth_level = True  # noqa: SLF001  # or each start logs a warning about HTTP triggers
app.register_functions(create_blueprint(Settings.from_environment()))
