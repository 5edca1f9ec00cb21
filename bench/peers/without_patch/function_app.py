"""This function, with the binding's own parsing of times instead of the patched one."""

import azure.functions as func

from delete_session import app as deployed
from delete_session.settings import Settings
from delete_session.telemetry import prepare_worker

prepare_worker()
deployed.patch_time_parsing = lambda: None
app = func.FunctionApp()
app.register_functions(deployed.create_blueprint(Settings.from_environment()))
