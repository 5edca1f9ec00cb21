"""The app that the Functions host loads."""

import azure.functions as func

from delete_session.app import create_blueprint
from delete_session.settings import Settings

app = func.FunctionApp()
app.register_functions(create_blueprint(Settings.from_environment()))
