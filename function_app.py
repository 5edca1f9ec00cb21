"""The app that the Functions host loads."""

import azure.functions as func

from delete_session.settings import Settings
from delete_session.trigger import create_blueprint

app = func.FunctionApp()
app.register_functions(create_blueprint(Settings.from_environment()))
